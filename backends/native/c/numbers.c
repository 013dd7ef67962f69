// The bits of a number.
INLINE word to_word(real x) {
    word bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

// The number of some bits.
INLINE real from_word(word bits) {
    real x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

// 2^n, where that is a normal number.
INLINE real two_to(word n) { return from_word((n + EXPONENT_BIAS) << FRACTION_BITS); }

// A whole number of few digits, negative or not, as a real one.
INLINE real from_whole(word n) { return from_word(n + to_word(ROUNDING)) - ROUNDING; }

// x - n ln 2 for the nearest whole n; x is held where e^x is neither infinite nor 0.
INLINE real exp_reduced(real x, word *n) {
    real most = x > EXP_MOST ? EXP_MOST : x, held = most < EXP_LEAST ? EXP_LEAST : most;
    real shifted = held * PER_LN2 + ROUNDING, whole = shifted - ROUNDING;
    *n = to_word(shifted) - to_word(ROUNDING);
    return (held - whole * LN2_HIGH) - whole * LN2_LOW;
}

// 2^n e^r for |r| <= ln 2 / 2; 2^n in two factors, since it may be no normal number.
INLINE real exp_scaled(real r, word n) {
    word half = ((n + 4096) >> 1) - 2048;
    return (1 + (r + r * r * exp_series(r))) * two_to(half) * two_to(n - half);
}

// e^x; within 1 ulp.
INLINE real exp_(real x) {
    word n;
    real r = exp_reduced(x, &n);
    return exp_scaled(r, n);
}

// e^(x + rest), of a rest that rounding would cut off.
INLINE real exp_with(real x, real rest) {
    word n;
    real r = exp_reduced(x, &n);
    return exp_scaled(r + rest, n);
}

// e^x - 1, without loss of digits near 0; within 2 ulp.
INLINE real expm1_(real x) {
    word n;
    real r = exp_reduced(x < EXPM1_LEAST ? EXPM1_LEAST : x, &n);
    real less = r + r * r * exp_series(r), half = two_to(n - 1);
    real value = 2 * (half * less + (half - (real)0.5));
    return abs_(x) < LEAST_NORMAL ? x : value;
}

// log(2^n (1 + f)) + rest for 1 + f in [sqrt 0.5, sqrt 2], summed from the smallest to the largest.
INLINE real log_sum(real n, real f, real rest) {
    real s = f / (2 + f), z = s * s, h = (real)0.5 * f * f;
    return n * LN2_HIGH - ((h - (s * (h + z * log_series(z)) + (n * LN2_LOW + rest))) - f);
}

// The n of a normal number 2^n (1 + f) with 1 + f in [sqrt 0.5, sqrt 2].
INLINE word exponent_of(real x) {
    return ((to_word(x) + (to_word(1) - to_word((real)0.70710678118654752440))) >> FRACTION_BITS) - EXPONENT_BIAS;
}

// The natural logarithm; within 1 ulp.
INLINE real log_(real x) {
    bool tiny = x < LEAST_NORMAL;
    real normal = tiny ? x * ((word)1 << FRACTION_BITS) : x;
    word n = exponent_of(normal);
    real f = from_word(to_word(normal) - (n << FRACTION_BITS)) - 1;
    real value = log_sum(from_whole(n) - (tiny ? FRACTION_BITS : 0), f, 0);
    real infinity = (real)__builtin_inf();
    return x > 0 ? (x < infinity ? value : x) : (x == 0 ? -infinity : (real)__builtin_nan(""));
}

// log(1 + x), without loss of digits near 0; within 1 ulp.
INLINE real log1p_(real x) {
    real u = 1 + x, back = u - 1, lost = (1 - (u - back)) + (x - back);
    word n = exponent_of(u);
    real f = from_word(to_word(u) - (n << FRACTION_BITS)) - 1;
    real value = abs_(x) < LEAST_NORMAL ? x : log_sum(from_whole(n), f, lost / u);
    real infinity = (real)__builtin_inf();
    return u > 0 ? (u < infinity ? value : u) : (u == 0 ? -infinity : (real)__builtin_nan(""));
}

// log(1 + x) for x in [0, 1].
INLINE real log1p_unit(real x) {
    bool above = x > (real)0.41421356237309504880;
    return log_sum(above ? 1 : 0, above ? (x - 1) / 2 : x, 0);
}

// The hyperbolic tangent; within 2 ulp.
INLINE real tanh_(real x) {
    real size = abs_(x), grown = expm1_(2 * (size > TANH_MOST ? TANH_MOST : size));
    return libm(copysign)(grown / (grown + 2), x);
}

// factor * erfc(x / sqrt 2) for x >= 0: what the normal distribution has outside of [-x, x].  The square is that of the
// upper half of x, which is exact, and the rest: its rounding would be as many times larger in the exponential.
INLINE real normal_tail(real x, real factor) {
    real held = x > TAIL_MOST ? TAIL_MOST : x, from = held + TAIL_CENTRE;
    real upper = from_word(to_word(held) & UPPER_HALF), half = (real)-0.5;
    real density = exp_with(half * upper * upper, half * (held - upper) * (held + upper));
    return density * (tail_series((held - TAIL_CENTRE) / from) * factor / from);
}

// The error function for |x| <= 3/4.
INLINE real erf_near(real x) { return x + x * erf_series(x * x); }

// The error function; within 2 ulp.
INLINE real erf_(real x) {
    real size = abs_(x), far = 1 - normal_tail(size * (real)1.41421356237309504880, 1);
    return size < (real)0.75 ? erf_near(x) : libm(copysign)(far, x);
}

// What the C library computes for angles beyond those that are reduced here, else `near`.
CALLED real sin_beyond(real x, real near) { return abs_(x) <= ANGLE_MOST ? near : libm(sin)(x); }

// The same for the cosine.
CALLED real cos_beyond(real x, real near) { return abs_(x) <= ANGLE_MOST ? near : libm(cos)(x); }

// The same for the tangent.
CALLED real tan_beyond(real x, real near) { return abs_(x) <= ANGLE_MOST ? near : libm(tan)(x); }

// x - n pi / 2 for the nearest whole n, of |x| up to ANGLE_MOST; pi / 2 is in parts of 23 bits, whole multiples of
// which are exact (Cody and Waite, Software Manual for the Elementary Functions, 1980).
INLINE real reduced_angle(real x, word *n) {
    double wide = x, shifted = wide * 0.63661977236758134 + 0x1.8p52, whole = shifted - 0x1.8p52;
    uint64_t bits;
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    *n = (word)bits;
    double part = ((wide - whole * 0x1.921fb4p+0) - whole * 0x1.4442dp-24) - whole * 0x1.846988p-48;
    return (real)(part - whole * 0x1.8cc51701b839ap-72);
}

// The sine of an angle in radians; within 2 ulp.
INLINE real sin_(real x) {
    word n;
    real r = reduced_angle(x, &n), z = r * r;
    real value = n & 1 ? 1 + (z * z * cos_series(z) - z / 2) : r + r * z * sin_series(z);
    return sin_beyond(x, x == 0 ? x : (n & 2 ? -value : value));
}

// The cosine of an angle in radians; within 2 ulp.
INLINE real cos_(real x) {
    word n;
    real r = reduced_angle(x, &n), z = r * r;
    real value = n & 1 ? r + r * z * sin_series(z) : 1 + (z * z * cos_series(z) - z / 2);
    return cos_beyond(x, (n + 1) & 2 ? -value : value);
}

// The tangent of an angle in radians; within 3 ulp.
INLINE real tan_(real x) {
    word n;
    real r = reduced_angle(x, &n), z = r * r;
    real sine = r + r * z * sin_series(z), cosine = 1 + (z * z * cos_series(z) - z / 2);
    real value = n & 1 ? -cosine / sine : sine / cosine;
    return tan_beyond(x, x == 0 ? x : value);
}

// The angle of the point (x, y), in [-pi, pi]; first that beside the nearest axis or diagonal; within 2.5 ulp.
INLINE real atan2_(real y, real x) {
    real across = abs_(x), up = abs_(y), scale = (across > 1) | (up > 1) ? (real)0.25 : (word)1 << FRACTION_BITS;
    real more = maximum(across, up) * scale, less = minimum(across, up) * scale;
    bool diagonal = (more > 0) & ((less == more) | (less > more * (real)0.41421356237309504880));
    real slope = diagonal ? (less - more) / (less + more) : less / more;
    real t = less == more ? 0 : slope, z = t * t, pi = (real)3.14159265358979323846;
    real angle = t + t * z * atan_series(z) + (diagonal ? pi / 4 : 0);
    real steep = up > across ? pi / 2 - angle : angle;
    return libm(copysign)(libm(copysign)(1, x) < 0 ? pi - steep : steep, y);
}

// x to the power y, which is whole where x is negative; of the C library, since its logarithm needs more digits.
CALLED real power(real x, real y) { return libm(pow)(x, y); }

// 1 / (1 + e^-x), without overflow on either side; within 2 ulp.
INLINE real sigmoid_(real x) {
    real small = exp_(-abs_(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// log(1 + e^x), without overflow; within 2 ulp.
INLINE real softplus_(real x) { return relu_(x) + log1p_unit(exp_(-abs_(x))); }

// log(sigmoid(x)), without overflow; within 2 ulp.
INLINE real logsigmoid_(real x) { return -softplus_(-x); }

// x sigmoid(x); within 2.5 ulp.
INLINE real silu_(real x) { return x * sigmoid_(x); }

// x times the normal distribution function; within 4 ulp.
INLINE real gelu_(real x) {
    real half = (real)0.5, tail = normal_tail(abs_(x), half * (x < 0 ? x : 1));
    real near = x * (half + half * erf_near(x * (real)0.70710678118654752440)), far = x < 0 ? tail : x * (1 - tail);
    return abs_(x) < half ? near : far;
}

// log(e^x + e^y); equal operands, which may be infinite, apart.
INLINE real logaddexp(real x, real y) {
    real apart = maximum(x, y) + log1p_unit(exp_(-abs_(x - y)));
    return x == y ? x + (real)0.69314718055994530942 : apart;
}
