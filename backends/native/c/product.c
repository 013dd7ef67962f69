// As wide as the machine's vectors.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

// How many numbers a vector holds.
#define LANES ((long)(VECTOR_BYTES / sizeof(real)))

// Columns that are packed side by side.
#define COLUMNS (3 * LANES)

// How many numbers `pack` writes.
static long packed_size(long inner, long outer) {
    return inner * ((outer + COLUMNS - 1) / COLUMNS) * COLUMNS;
}

// A matrix in panels of COLUMNS columns, zeros behind the last: packed[panel][i][column].
static void pack(real *packed, const data *matrix, long inner, long outer, long inner_stride, long outer_stride) {
    for (long first = 0; first < outer; first += COLUMNS)
        for (long i = 0; i < inner; i++)
            for (long column = first; column < first + COLUMNS; column++)
                *packed++ = column < outer ? load_data(matrix[i * inner_stride + column * outer_stride]) : 0;
}

// One row's products with one panel.
static inline void row_product(real *sum, const real *x, const real *panel, long inner) {
    for (long column = 0; column < COLUMNS; column++) sum[column] = 0;
    for (long i = 0; i < inner; i++, panel += COLUMNS)
        for (long column = 0; column < COLUMNS; column++) sum[column] += x[i] * panel[column];
}

// out[r][o] = kept * out[r][o] + sum_i x[r][i] * matrix[i][o], for a matrix that `pack` packed.
static void product_onto(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                         long inner, long outer, int kept) {
    real sum[COLUMNS];
    for (long first = 0; first < outer; first += COLUMNS, packed += inner * COLUMNS)
        for (long row = 0; row < rows; row++) {
            row_product(sum, x + row * x_stride, packed, inner);
            for (long o = first; o < outer && o < first + COLUMNS; o++)
                out[row * out_stride + o] = (kept ? out[row * out_stride + o] : 0) + sum[o - first];
        }
}

// out[r][o] = sum_i x[r][i] * matrix[i][o].
static void product(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows, long inner,
                    long outer) {
    product_onto(out, out_stride, x, x_stride, packed, rows, inner, outer, 0);
}

// out[r][o] += sum_i x[r][i] * matrix[i][o].
static void product_added(real *out, long out_stride, const real *x, long x_stride, const real *packed, long rows,
                          long inner, long outer) {
    product_onto(out, out_stride, x, x_stride, packed, rows, inner, outer, 1);
}
