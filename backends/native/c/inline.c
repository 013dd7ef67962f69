// A function that stands where it is called: loops vectorise, and constant arguments make copies of their own.
#define INLINE static inline __attribute__((always_inline))

// A function that is called, for a vector of numbers at once, so that its branches keep no loop from vectorising.
#define CALLED _Pragma("omp declare simd notinbranch") __attribute__((noinline, const)) static
