// The compiler's own form of a function of <math.h>.
#define libm(name) __builtin_##name##f

// e^x.
static inline real exp_(real x) { return libm(exp)(x); }

// e^x - 1, without loss of digits near 0.
static inline real expm1_(real x) { return libm(expm1)(x); }

// The natural logarithm.
static inline real log_(real x) { return libm(log)(x); }

// log(1 + x), without loss of digits near 0.
static inline real log1p_(real x) { return libm(log1p)(x); }

// The hyperbolic tangent.
static inline real tanh_(real x) { return libm(tanh)(x); }

// The error function.
static inline real erf_(real x) { return libm(erf)(x); }

// The normal distribution function, twice: erfc(-x / sqrt 2).
static inline real twice_normal(real x) { return libm(erfc)(x * (real)-0.70710678118654752440); }

// The sine of an angle in radians.
static inline real sin_(real x) { return libm(sin)(x); }

// The cosine of an angle in radians.
static inline real cos_(real x) { return libm(cos)(x); }

// The tangent of an angle in radians.
static inline real tan_(real x) { return libm(tan)(x); }

// The angle of the point (x, y), in (-pi, pi].
static inline real atan2_(real y, real x) { return libm(atan2)(y, x); }

// x to the power y; whole y for negative x.
static inline real power(real x, real y) { return libm(pow)(x, y); }
