// x without its sign.
INLINE int64_t abs_int(int64_t x) { return x < 0 ? (int64_t)-(uint64_t)x : x; }

// -1, 0 or 1.
INLINE int64_t sign_int(int64_t x) { return (x > 0) - (x < 0); }

// x where it is above 0, else 0.
INLINE int64_t relu_int(int64_t x) { return x > 0 ? x : 0; }

// The larger.
INLINE int64_t maximum_int(int64_t x, int64_t y) { return x > y ? x : y; }

// The smaller.
INLINE int64_t minimum_int(int64_t x, int64_t y) { return x < y ? x : y; }

// x / y rounded down; 0 where y is 0, as in NumPy, and the smallest number over -1 is itself.
INLINE int64_t floor_divide_int(int64_t x, int64_t y) {
    int64_t safe = y == 0 || y == -1 ? 1 : y;
    int64_t quotient = x / safe - (x % safe != 0 && (x < 0) != (safe < 0));
    return y == 0 ? 0 : y == -1 ? (int64_t)-(uint64_t)x : quotient;
}

// x - y floor(x / y), with the sign of y; 0 where y is 0, as in NumPy.
INLINE int64_t remainder_int(int64_t x, int64_t y) {
    int64_t safe = y == 0 || y == -1 ? 1 : y;
    int64_t rest = x % safe;
    return rest != 0 && (rest < 0) != (safe < 0) ? rest + safe : rest;
}

// x to the power n by repeated squaring, modulo 2^64; below n = 0 what 1 / x^-n is rounded towards 0.
INLINE int64_t power_whole(int64_t x, int64_t n) {
    uint64_t result = 1, square = (uint64_t)x;
    if (n < 0) return x == 1 ? 1 : x == -1 ? (n % 2 ? -1 : 1) : 0;
    for (uint64_t left = (uint64_t)n; left; left >>= 1, square *= square) result *= left & 1 ? square : 1;
    return (int64_t)result;
}
