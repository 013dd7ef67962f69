// A bfloat16 holds the upper half of a float.
INLINE float from_bfloat16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    __builtin_memcpy(&value, &wide, sizeof value);
    return value;
}

// The nearest bfloat16, halves to the even one; NaN stays NaN.
INLINE uint16_t to_bfloat16(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(value != value ? bits >> 16 | 0x40 : rounded);
}

// A float16 by its bits: 5 of exponent, 10 of fraction.
INLINE float from_float16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, size = (uint32_t)(bits & 0x7fff) << 13;
    uint32_t special = size >= 0x0f800000 ? 0x70000000 : 0;  // infinities and NaN keep the largest exponent
    size += special;
    float value, scaled;
    __builtin_memcpy(&value, &size, sizeof value);
    scaled = special ? value : value * 0x1p112f;  // subnormal floats where the float16 is one; exact
    __builtin_memcpy(&size, &scaled, sizeof size);
    size |= sign;
    __builtin_memcpy(&value, &size, sizeof value);
    return value;
}

// The nearest float16 by its bits, halves to the even one; NaN stays NaN.
INLINE uint16_t to_float16(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    uint32_t normal = (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13;
    float magnitude, small;
    __builtin_memcpy(&magnitude, &size, sizeof magnitude);
    small = magnitude + 0.5f;  // the last bit of numbers in [0.5, 1) is that of the smallest float16
    uint32_t tiny;
    __builtin_memcpy(&tiny, &small, sizeof tiny);
    uint32_t finite = size < 0x38800000 ? tiny - 0x3f000000 : size >= 0x477ff000 ? 0x7c00 : normal;
    return (uint16_t)(sign | (value != value ? 0x7e00 : finite));
}
