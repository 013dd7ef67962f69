// The bits of a number.
typedef uint64_t word;

// The compiler's own form of a function of <math.h>.
#define libm(name) __builtin_##name

// How a number is laid out: bits of fraction below those of the exponent, and what the exponent counts from.
#define FRACTION_BITS 52
#define EXPONENT_BIAS 1023
#define LEAST_NORMAL 0x1p-1022

// Added to a number of few digits, it leaves the nearest whole number in the last bits.
#define ROUNDING 0x1.8p52

// 1 / ln 2, and ln 2 in two parts: whole multiples of the first are exact.
#define PER_LN2 1.4426950408889634
#define LN2_HIGH 0x1.62e42fefa2p-1
#define LN2_LOW 0x1.9ef35793c7673p-41

// Where e^x is infinite, where it is 0, and where e^x - 1 is -1.
#define EXP_MOST 710.0
#define EXP_LEAST -746.0
#define EXPM1_LEAST -38.0

// Where tanh(x) is 1; where erfc(x / sqrt 2) is 0; what `tail_series` is centred at; the upper half of a fraction.
#define TANH_MOST 20.0
#define TAIL_MOST 39.0
#define TAIL_CENTRE 5
#define UPPER_HALF 0xfffffffff8000000u

// The largest angle that is reduced in parts.
#define ANGLE_MOST 1e9

// (e^z - 1 - z) / z^2 for |z| <= ln 2 / 2, to 2^-58.
INLINE real exp_series(real z) {
    real sum = 2.499824525507468e-8;
    sum = sum * z + 2.7631677962217305e-7;
    sum = sum * z + 2.7557599823620433e-6;
    sum = sum * z + 0.000024801489387981221;
    sum = sum * z + 0.00019841269482868388;
    sum = sum * z + 0.0013888888946873114;
    sum = sum * z + 0.0083333333335093385;
    sum = sum * z + 0.041666666666519396;
    sum = sum * z + 0.16666666666666384;
    return sum * z + 0.50000000000000117;
}

// (log((1 + s) / (1 - s)) / s - 2) / z of z = s^2, for s of 1 + s : 1 - s in [sqrt 0.5, sqrt 2], to 2^-59.
INLINE real log_series(real z) {
    real sum = 0.14811344054985873;
    sum = sum * z + 0.15312593067727661;
    sum = sum * z + 0.18183617931286974;
    sum = sum * z + 0.22222197610619959;
    sum = sum * z + 0.28571428751050352;
    sum = sum * z + 0.39999999999379194;
    return sum * z + 0.66666666666667392;
}

// (sin(r) / r - 1) / z of z = r^2, for |r| <= pi / 4, to 2^-58.
INLINE real sin_series(real z) {
    real sum = 1.5893600179597284e-10;
    sum = sum * z - 2.505070440757908e-8;
    sum = sum * z + 2.7557313359041279e-6;
    sum = sum * z - 0.00019841269828881125;
    sum = sum * z + 0.0083333333333213022;
    return sum * z - 0.16666666666666628;
}

// (cos(r) - 1 + z / 2) / z^2 of z = r^2, for |r| <= pi / 4, to 2^-64.
INLINE real cos_series(real z) {
    real sum = -1.1357447297588564e-11;
    sum = sum * z + 2.0875681862950174e-9;
    sum = sum * z - 2.755731405656141e-7;
    sum = sum * z + 0.000024801587288492595;
    sum = sum * z - 0.0013888888888872601;
    return sum * z + 0.041666666666666591;
}

// erf(x) / x - 1 of z = x^2, for |x| <= 3/4, to 2^-60.
INLINE real erf_series(real z) {
    real sum = 1.146375499912527e-8;
    sum = sum * z - 1.5937601144617581e-7;
    sum = sum * z + 1.6430388610664248e-6;
    sum = sum * z - 0.000014924176683082207;
    sum = sum * z + 0.0001205528877997564;
    sum = sum * z - 0.00085483261691862076;
    sum = sum * z + 0.0052239776151242027;
    sum = sum * z - 0.026866170644402695;
    sum = sum * z + 0.11283791670952482;
    sum = sum * z - 0.37612638903183715;
    return sum * z + 0.12837916709551257;
}

// (x + 5) e^(x^2 / 2) erfc(x / sqrt 2) of z = (x - 5) / (x + 5), for x in [0, 39], to 2^-56.
INLINE real tail_series(real z) {
    real sum = 4.0279054717935261e-9;
    sum = sum * z + 1.4364050067871406e-8;
    sum = sum * z - 2.0422019270129354e-8;
    sum = sum * z - 1.3064005148424183e-7;
    sum = sum * z + 8.7224972135663702e-8;
    sum = sum * z + 8.6537344499113974e-7;
    sum = sum * z - 6.7548645212735313e-7;
    sum = sum * z - 5.5381108912769972e-6;
    sum = sum * z + 7.9629825536730437e-6;
    sum = sum * z + 0.000033362289903844091;
    sum = sum * z - 0.000099526020498362121;
    sum = sum * z - 0.00011875142263205882;
    sum = sum * z + 0.0010897982117424023;
    sum = sum * z - 0.001595738802948405;
    sum = sum * z - 0.0059867535513930598;
    sum = sum * z + 0.041590133600483743;
    sum = sum * z - 0.1382372774119038;
    sum = sum * z + 0.33004073234072313;
    sum = sum * z - 0.62706631334263148;
    sum = sum * z + 0.990611231939954;
    sum = sum * z - 1.3307650057801132;
    return sum * z + 1.5383860995001259;
}

// (atan(t) / t - 1) / z of z = t^2, for |t| <= sqrt 2 - 1, to 2^-59.
INLINE real atan_series(real z) {
    real sum = -0.017773471619347482;
    sum = sum * z + 0.037944536267565333;
    sum = sum * z - 0.050346699798615532;
    sum = sum * z + 0.05846882211553983;
    sum = sum * z - 0.066629688578864998;
    sum = sum * z + 0.076920486310480824;
    sum = sum * z - 0.090908971256712208;
    sum = sum * z + 0.11111110762221312;
    sum = sum * z - 0.14285714279788487;
    sum = sum * z + 0.19999999999949727;
    return sum * z - 0.33333333333333185;
}
