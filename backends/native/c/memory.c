// Room for an array, at the start of a cache line.
static void *new_array(long bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }
