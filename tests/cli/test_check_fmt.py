"""`lsrl check` and `lsrl fmt`."""

from __future__ import annotations

from pathlib import Path

from support.commands import DECAY, Run

WRONG = "cell f(D, H):\n    input x: [D]\n    param W: [D, H]\n    output y = W @ x + z\n"


def test_a_fine_program_is_called_so(run: Run) -> None:
    done = run("check", "decay.lsrl")
    assert (done.status, done.out, done.err) == (0, "decay.lsrl: ok, cell decay(D, H)\n", "")


def test_types_stand_beside_their_lines(run: Run) -> None:
    done = run("check", "decay.lsrl", "--types")
    assert done.status == 0
    assert done.out == (
        "decay\n"
        "4 | input x: [D]                      x: [D]\n"
        "5 | param Wa, Wb: [H, D]              Wa: [H, D]   Wb: [H, D]\n"
        "6 | state h: [H] = 0                  h: [H]\n"
        "8 | a = sigmoid(Wa @ x)               a: [H]\n"
        "9 | h' = a * h + (1 - a) * (Wb @ x)   h': [H]\n"
    )


def test_types_as_data(run: Run) -> None:
    data = run("check", "decay.lsrl", "--types", "--json").data
    line = next(line for line in data["types"]["decay"] if line["line"] == 8)
    assert line == {
        "line": 8,
        "text": "a = sigmoid(Wa @ x)",
        "names": [{"name": "a", "shape": "[H]", "kind": "float"}],
    }


def test_every_mistake_is_reported_and_the_status_is_1(run: Run) -> None:
    Path("wrong.lsrl").write_text(WRONG)
    done = run("check", "wrong.lsrl")
    assert (done.status, done.out) == (1, "")
    assert "wrong.lsrl:4:16" in done.err  # W @ x, shapes
    assert "wrong.lsrl:4:24" in done.err  # z, unknown
    assert "2 errors" in done.err


def test_mistakes_as_data(run: Run) -> None:
    Path("wrong.lsrl").write_text(WRONG)
    done = run("check", "wrong.lsrl", "--json")
    assert (done.status, done.err) == (1, "")
    assert {(each["severity"], each["line"]) for each in done.data} == {("error", 4)}


def test_a_syntax_error_is_data_too(run: Run) -> None:
    Path("wrong.lsrl").write_text("cell f(:\n")
    done = run("check", "wrong.lsrl", "--json")
    assert done.status == 1
    assert done.data[0]["file"] == "wrong.lsrl"


def test_warnings_do_not_count(run: Run) -> None:
    Path("idle.lsrl").write_text("cell f(D):\n    input x, y: [D]\n    output x\n")
    done = run("check", "idle.lsrl")
    assert done.status == 0
    assert "warning" in done.err
    assert "idle.lsrl: ok" in done.out


def test_the_library_has_names(run: Run) -> None:
    assert run("check", "std/gru").status == 0
    done = run("check", "std/grv")
    assert done.status == 1
    assert "std/grv" in done.err


def test_a_missing_file_is_named(run: Run) -> None:
    done = run("check", "absent.lsrl")
    assert (done.status, done.err) == (1, "lsrl: absent.lsrl: No such file or directory\n")


def test_fmt_leaves_what_is_canonical(run: Run) -> None:
    done = run("fmt", "decay.lsrl")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert Path("decay.lsrl").read_text() == DECAY


def test_fmt_rewrites_in_place_and_keeps_comments(run: Run) -> None:
    Path("decay.lsrl").write_text(DECAY.replace("a * h + (1 - a)", "a*h+(1-a)  ").replace("= 0", "= 0   # empty"))
    checked = run("fmt", "--check", "decay.lsrl")
    assert (checked.status, checked.out) == (1, "decay.lsrl would change\n")
    assert run("fmt", "decay.lsrl").status == 0
    assert Path("decay.lsrl").read_text() == DECAY.replace("= 0", "= 0  # empty")


def test_fmt_goes_on_after_a_file_with_an_error(run: Run) -> None:
    Path("wrong.lsrl").write_text("cell f(:\n")
    Path("decay.lsrl").write_text(DECAY.replace("1 - a", "1-a"))
    done = run("fmt", "wrong.lsrl", "decay.lsrl")
    assert done.status == 1
    assert Path("wrong.lsrl").read_text() == "cell f(:\n"
    assert Path("decay.lsrl").read_text() == DECAY
