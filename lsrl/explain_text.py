"""The report of `lsrl explain` as text."""
def report_text(report): return str(report)
