// bfloat16 loaded into vectors of floats and stored from them. Included after vectors.h and a `rounded` that gives the
// nearest bfloat16 of a vector.

inline Floats load(const bfloat16* from) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline void store(bfloat16* to, Floats x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded(x)); }

inline float to_float(bfloat16 x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
