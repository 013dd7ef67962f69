// The square root; NaN below 0; within 0.5 ulp.
INLINE real sqrt_(real x) { return libm(sqrt)(x); }

// 1 / sqrt(x); within 1.5 ulp.
INLINE real rsqrt_(real x) { return 1 / sqrt_(x); }

// -1, 0 or 1; x itself where it is 0 or NaN.
INLINE real sign_(real x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

// The largest whole number that is not above x.
INLINE real floor_(real x) { return libm(floor)(x); }

// The smallest whole number that is not below x.
INLINE real ceil_(real x) { return libm(ceil)(x); }

// The nearest whole number, halves to the even one.
INLINE real round_(real x) { return libm(rint)(x); }

// x where it is above 0, else 0; NaN stays.
INLINE real relu_(real x) { return x < 0 ? 0 : x; }

// x without its sign.
INLINE real abs_(real x) { return libm(fabs)(x); }

// The larger; NaN where one of them is.
INLINE real maximum(real x, real y) {
    real more = x > y ? x : y;
    return x != x ? x : more;
}

// The smaller; NaN where one of them is.
INLINE real minimum(real x, real y) {
    real less = x < y ? x : y;
    return x != x ? x : less;
}

// x to a whole power, 1 / x^-n where n is negative: products alone for a constant n below 16, which loops vectorise.
INLINE real power_int(real x, long n) {
    unsigned long size = n < 0 ? -(unsigned long)n : (unsigned long)n;
    real second = x * x, fourth = second * second, eighth = fourth * fourth, next = eighth * eighth;
    real result = (size & 1 ? x : 1) * (size & 2 ? second : 1) * (size & 4 ? fourth : 1) * (size & 8 ? eighth : 1);
    for (unsigned long left = size >> 4; left; left >>= 1, next *= next) result *= left & 1 ? next : 1;
    return n < 0 ? 1 / result : result;
}

// x - y trunc(x / y), with the sign of x, which is exact.
CALLED real truncated_remainder(real x, real y) { return libm(fmod)(x, y); }

// x - y floor(x / y), with the sign of y.
INLINE real remainder_(real x, real y) {
    real rest = truncated_remainder(x, y);
    real moved = rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
    return moved == 0 ? libm(copysign)(0, y) : moved;
}

// x / y rounded down; what the remainder leaves is a whole number up to rounding.
INLINE real floor_divide(real x, real y) {
    real rest = truncated_remainder(x, y), down = rest != 0 && (rest < 0) != (y < 0);
    real quotient = round_((x - rest) / y - down);
    return y == 0 ? x / y : (quotient == 0 ? libm(copysign)(0, x / y) : quotient);
}
