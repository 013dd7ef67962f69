// 1 / (1 + e^-x), without overflow on either side.
static inline real sigmoid_(real x) {
    real small = exp_(-abs_(x));
    return (x >= 0 ? 1 : small) / (1 + small);
}

// log(1 + e^x), without overflow.
static inline real softplus_(real x) { return relu_(x) + log1p_(exp_(-abs_(x))); }

// log(sigmoid(x)), without overflow.
static inline real logsigmoid_(real x) { return -softplus_(-x); }

// x sigmoid(x).
static inline real silu_(real x) { return x * sigmoid_(x); }

// x times the normal distribution function.
static inline real gelu_(real x) { return x * ((real)0.5 * twice_normal(x)); }

// log(e^x + e^y); equal operands, which may be infinite, apart.
static inline real logaddexp(real x, real y) {
    real apart = maximum(x, y) + log1p_(exp_(-abs_(x - y)));
    return x == y ? x + (real)0.69314718055994530942 : apart;
}
