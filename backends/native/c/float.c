// The bits of a number.
typedef uint32_t word;

// The compiler's own form of a function of <math.h>.
#define libm(name) __builtin_##name##f

// How a number is laid out: bits of fraction below those of the exponent, and what the exponent counts from.
#define FRACTION_BITS 23
#define EXPONENT_BIAS 127
#define LEAST_NORMAL 0x1p-126f

// Added to a number of few digits, it leaves the nearest whole number in the last bits.
#define ROUNDING 0x1.8p23f

// 1 / ln 2, and ln 2 in two parts: whole multiples of the first are exact.
#define PER_LN2 1.44269504f
#define LN2_HIGH 0x1.62e4p-1f
#define LN2_LOW 0x1.7f7d1cp-20f

// Where e^x is infinite, where it is 0, and where e^x - 1 is -1.
#define EXP_MOST 89.0f
#define EXP_LEAST -104.0f
#define EXPM1_LEAST -18.0f

// Where tanh(x) is 1; where erfc(x / sqrt 2) is 0; what `tail_series` is centred at; the upper half of a fraction.
#define TANH_MOST 10.0f
#define TAIL_MOST 15.0f
#define TAIL_CENTRE 4
#define UPPER_HALF 0xfffff000u

// The largest angle that is reduced in parts.
#define ANGLE_MOST 1e9f

// (e^z - 1 - z) / z^2 for |z| <= ln 2 / 2, to 2^-28.
INLINE real exp_series(real z) {
    real sum = 0.00138131409f;
    sum = sum * z + 0.00836941894f;
    sum = sum * z + 0.0416684569f;
    sum = sum * z + 0.166665148f;
    return sum * z + 0.499999931f;
}

// (log((1 + s) / (1 - s)) / s - 2) / z of z = s^2, for s of 1 + s : 1 - s in [sqrt 0.5, sqrt 2], to 2^-30.
INLINE real log_series(real z) {
    real sum = 0.298852073f;
    sum = sum * z + 0.399770793f;
    return sum * z + 0.666667798f;
}

// (sin(r) / r - 1) / z of z = r^2, for |r| <= pi / 4, to 2^-28.
INLINE real sin_series(real z) {
    real sum = -0.000195108333f;
    sum = sum * z + 0.00833213149f;
    return sum * z - 0.166666542f;
}

// (cos(r) - 1 + z / 2) / z^2 of z = r^2, for |r| <= pi / 4, to 2^-33.
INLINE real cos_series(real z) {
    real sum = 0.0000244312327f;
    sum = sum * z - 0.00138873065f;
    return sum * z + 0.0416666457f;
}

// erf(x) / x - 1 of z = x^2, for |x| <= 3/4, to 2^-35.
INLINE real erf_series(real z) {
    real sum = 0.000094612609f;
    sum = sum * z - 0.000835536808f;
    sum = sum * z + 0.00521669022f;
    sum = sum * z - 0.0268647426f;
    sum = sum * z + 0.112837783f;
    sum = sum * z - 0.376126384f;
    return sum * z + 0.128379167f;
}

// (x + 4) e^(x^2 / 2) erfc(x / sqrt 2) of z = (x - 4) / (x + 4), for x in [0, 15], to 2^-30.
INLINE real tail_series(real z) {
    real sum = -0.0000901211127f;
    sum = sum * z - 0.00043856593f;
    sum = sum * z + 0.000343720187f;
    sum = sum * z + 0.00327097103f;
    sum = sum * z - 0.00698444112f;
    sum = sum * z - 0.0150852266f;
    sum = sum * z + 0.120796707f;
    sum = sum * z - 0.373043148f;
    sum = sum * z + 0.77427461f;
    sum = sum * z - 1.2157933f;
    return sum * z + 1.51057026f;
}

// (atan(t) / t - 1) / z of z = t^2, for |t| <= sqrt 2 - 1, to 2^-30.
INLINE real atan_series(real z) {
    real sum = -0.0606062631f;
    sum = sum * z + 0.105874354f;
    sum = sum * z - 0.142427575f;
    sum = sum * z + 0.199984357f;
    return sum * z - 0.333333147f;
}
