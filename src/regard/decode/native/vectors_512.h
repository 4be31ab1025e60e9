// Vectors of sixteen lanes, for both instruction sets that have them. Included inside their anonymous namespaces.

constexpr int LANES = 16, PANEL_VECTORS = 4;
using Floats = __m512;
using Ints = __m512i;
using IntWeights = __m512i;

ALWAYS_INLINE Floats load(const float* p) { return _mm512_loadu_ps(p); }
ALWAYS_INLINE void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
ALWAYS_INLINE Floats broadcast(float x) { return _mm512_set1_ps(x); }
ALWAYS_INLINE Floats zero() { return _mm512_setzero_ps(); }
ALWAYS_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
ALWAYS_INLINE Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
ALWAYS_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
ALWAYS_INLINE Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
ALWAYS_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
ALWAYS_INLINE Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
ALWAYS_INLINE Floats absolute(Floats a) { return _mm512_abs_ps(a); }
ALWAYS_INLINE Ints round_to_int(Floats a) { return _mm512_cvtps_epi32(a); }
ALWAYS_INLINE Floats to_float(Ints a) { return _mm512_cvtepi32_ps(a); }
ALWAYS_INLINE Floats two_to_the(Ints n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
ALWAYS_INLINE float sum_of(Floats a) { return _mm512_reduce_add_ps(a); }
ALWAYS_INLINE float largest_of(Floats a) { return _mm512_reduce_max_ps(a); }
ALWAYS_INLINE bool any_greater(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
ALWAYS_INLINE __m256 fold(Floats a) {
    return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
}
ALWAYS_INLINE void sums_of_four(const Floats (&a)[4], float* out) {
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(fold(a[0]), fold(a[1])), _mm256_hadd_ps(fold(a[2]), fold(a[3])));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

ALWAYS_INLINE Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
ALWAYS_INLINE Ints zero_ints() { return _mm512_setzero_si512(); }
ALWAYS_INLINE Ints broadcast_int(int32_t x) { return _mm512_set1_epi32(x); }
ALWAYS_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
ALWAYS_INLINE Ints subtract_ints(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
ALWAYS_INLINE Ints multiply_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
ALWAYS_INLINE int32_t sum_of_ints(Ints a) { return _mm512_reduce_add_epi32(a); }
ALWAYS_INLINE void store_bytes(int8_t* p, Ints a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a));
}
ALWAYS_INLINE IntWeights load_weights(const int8_t* p) { return _mm512_loadu_si512(p); }
ALWAYS_INLINE Ints broadcast_four(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}
ALWAYS_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
