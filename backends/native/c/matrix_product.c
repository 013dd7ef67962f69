// out = x @ matrix, [rows, outer]; either may be transposed, by its strides.  Threads share rows; long sums are taken
// in parts, for each of which the matrix is packed once.
void matrix_product(const real *x, const real *matrix, real *out, long rows, long inner, long outer, long x_row,
                    long x_inner, long matrix_inner, long matrix_outer, long threads) {
    const long block = 64, depth = inner < 1 ? 1 : inner < DEPTH ? inner : DEPTH, columns = 12 * LANES;
    write_in_large_pages(out, rows * outer * (long)sizeof(real));
    real *packed = new_array(packed_size(depth, outer) * (long)sizeof(real));
    #pragma omp parallel num_threads(threads)
    {
        real *turned = new_array(block * depth * (long)sizeof(real));
        for (long first = 0; first < inner || !first; first += depth) {
            const long part = inner - first < depth ? inner - first : depth;
            #pragma omp for schedule(static)
            for (long o = 0; o < outer; o += columns) {
                const long many = outer - o < columns ? outer - o : columns;
                const real *source = matrix + first * matrix_inner + o * matrix_outer;
                pack(packed + o * part, source, part, many, matrix_inner, matrix_outer);
            }
            #pragma omp for schedule(dynamic)
            for (long row = 0; row < rows; row += block) {
                const long many = rows - row < block ? rows - row : block;
                const real *source = x + row * x_row + first * x_inner;
                for (long some = 0; x_inner != 1 && some < part; some += LANES)
                    for (long r = 0; r < many; r++)
                        for (long i = some; i < part && i < some + LANES; i++)
                            turned[r * part + i] = source[r * x_row + i * x_inner];
                const real *given = x_inner == 1 ? source : turned;
                const long stride = x_inner == 1 ? x_row : part;
                if (first)
                    product_added(out + row * outer, outer, given, stride, packed, many, part, outer);
                else
                    product(out + row * outer, outer, given, stride, packed, many, part, outer);
            }
        }
        free(turned);
    }
    free(packed);
}
