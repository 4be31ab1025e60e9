// Words that are single floats. Included after vectors.h and before tiles.h.

using Number = float;

inline Floats multiply_add(Floats left, Floats right, Floats sum) { return _mm512_fmadd_ps(left, right, sum); }

inline Floats join(const Floats (&pair)[2]) { return pair[0]; }

// A number has no neighbour to be paired with.
inline void pair_rows(const uint32_t* from, int64_t count, int64_t width, uint32_t* to) {
    std::memcpy(to, from, size_t(count * width) * sizeof *to);
}
