// As wide as the machine's vectors; where there are 32 registers of them, a tile has twice the rows.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define TILE_ROWS 4
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define TILE_ROWS 8
#else
#define VECTOR_BYTES 16
#define TILE_ROWS 4
#endif

// How many numbers a vector holds.
#define LANES ((long)(VECTOR_BYTES / sizeof(real)))

// The columns of a matrix that lie side by side when it is packed.
#define PANEL (3 * LANES)

// Numbers that are computed with at once, anywhere in memory.
typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

// How many numbers `pack` writes: the columns are filled up to whole vectors.
static long packed_size(long inner, long outer) { return inner * ((outer + LANES - 1) / LANES) * LANES; }

// matrix[i * inner_stride + o * outer_stride] in panels of three vectors of columns, the last in panels of one:
// packed[panel][i][column], with zeros behind the last column.
static void pack(real *packed, const data *matrix, long inner, long outer, long inner_stride, long outer_stride) {
    for (long first = 0, width; first < outer; first += width) {
        width = outer - first > 2 * LANES ? PANEL : LANES;
        long there = outer - first < width ? outer - first : width;
        const data *from = matrix + first * outer_stride;
        for (long i = 0; i < inner; i++, packed += width, from += inner_stride) {
            for (long column = 0; column < there; column++) packed[column] = load_data(from[column * outer_stride]);
            for (long column = there; column < width; column++) packed[column] = 0;
        }
    }
}

// At most `most` rows times a panel of `vectors`; the sums stay in registers.  Where there are fewer rows the last one
// is computed again, and not stored.
INLINE void product_tile(real *out, long out_stride, const real *x, long x_stride, const real *panel, long rows,
                         long inner, long columns, int added, const int most, const int vectors) {
    const real *row[TILE_ROWS];
    vector sum[TILE_ROWS][3], factor[3];
#pragma GCC unroll 8
    for (int r = 0; r < most; r++) {
        row[r] = x + (r < rows ? r : rows - 1) * x_stride;
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) sum[r][v] = (vector){0};
    }
    for (long i = 0; i < inner; i++, panel += vectors * LANES) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) factor[v] = *(const vector *)(panel + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < most; r++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++) sum[r][v] += row[r][i] * factor[v];
    }
    for (int r = 0; r < most && r < rows; r++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) {
            real *to = out + r * out_stride + v * LANES;
            long left = columns - v * LANES;
            if (left >= LANES && added) *(vector *)to += sum[r][v];
            else if (left >= LANES) *(vector *)to = sum[r][v];
            else for (long lane = 0; lane < left; lane++) to[lane] = (added ? to[lane] : 0) + sum[r][v][lane];
        }
}

// All rows times a panel, by tiles of 8 rows where there are registers for them, then of 4, then of one.
INLINE void product_panel(real *out, long out_stride, const real *x, long x_stride, const real *panel, long rows,
                          long inner, long columns, int added, const int vectors) {
    for (; TILE_ROWS == 8 && rows > 4; rows -= 8, x += 8 * x_stride, out += 8 * out_stride)
        product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, TILE_ROWS, vectors);
    for (; rows > 1; rows -= 4, x += 4 * x_stride, out += 4 * out_stride)
        product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, 4, vectors);
    if (rows == 1) product_tile(out, out_stride, x, x_stride, panel, rows, inner, columns, added, 1, vectors);
}

// How much of a long sum is taken at once, so that a tile's rows and its part of a panel stay in the caches.
#define DEPTH 512L

// Both of the products below, panel by panel.
static void product_by_panels(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                              long inner, long outer, int added) {
    for (long first = 0, width; first < outer; first += width, packed += inner * width) {
        long left = outer - first;
        width = left > 2 * LANES ? PANEL : LANES;
        for (long begin = 0; begin < inner || begin == 0; begin += DEPTH) {
            const real *from = x + begin, *panel = packed + begin * width;
            long depth = inner - begin < DEPTH ? inner - begin : DEPTH;
            int more = added || begin;
            if (width > LANES)
                product_panel(out + first, out_stride, from, x_stride, panel, rows, depth, left, more, 3);
            else
                product_panel(out + first, out_stride, from, x_stride, panel, rows, depth, left, more, 1);
        }
    }
}

// out[r][o] = sum_i x[r][i] * matrix[i][o], for a matrix that `pack` packed; row r is at out + r * out_stride.
static void product(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows, long inner,
                    long outer) {
    product_by_panels(out, out_stride, x, x_stride, packed, rows, inner, outer, 0);
}

// out[r][o] += sum_i x[r][i] * matrix[i][o].
static void product_added(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                          long inner, long outer) {
    product_by_panels(out, out_stride, x, x_stride, packed, rows, inner, outer, 1);
}
