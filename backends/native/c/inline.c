// A function that stands where it is called: loops vectorise, and constant arguments make copies of their own.
#define INLINE static inline __attribute__((always_inline))
