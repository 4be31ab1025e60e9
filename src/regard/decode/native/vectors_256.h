// Vectors of eight lanes, for both instruction sets that have them. Included inside their anonymous namespaces.

constexpr int LANES = 8, PANEL_VECTORS = 2;
using Floats = __m256;
using Ints = __m256i;
using IntWeights = __m256i;

ALWAYS_INLINE Floats load(const float* p) { return _mm256_loadu_ps(p); }
ALWAYS_INLINE void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
ALWAYS_INLINE Floats broadcast(float x) { return _mm256_set1_ps(x); }
ALWAYS_INLINE Floats zero() { return _mm256_setzero_ps(); }
ALWAYS_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
ALWAYS_INLINE Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
ALWAYS_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
ALWAYS_INLINE Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
ALWAYS_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
ALWAYS_INLINE Floats minimum(Floats a, Floats b) { return _mm256_min_ps(a, b); }
ALWAYS_INLINE Floats absolute(Floats a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
ALWAYS_INLINE Ints round_to_int(Floats a) { return _mm256_cvtps_epi32(a); }
ALWAYS_INLINE Floats to_float(Ints a) { return _mm256_cvtepi32_ps(a); }
ALWAYS_INLINE Floats two_to_the(Ints n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
ALWAYS_INLINE __m128 fold(__m128 a) { return _mm_add_ps(a, _mm_movehl_ps(a, a)); }
ALWAYS_INLINE float sum_of(Floats a) {
    const __m128 two = fold(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
ALWAYS_INLINE float largest_of(Floats a) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
ALWAYS_INLINE bool any_greater(Floats a, Floats b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
ALWAYS_INLINE void sums_of_four(const Floats (&a)[4], float* out) {
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

ALWAYS_INLINE Ints load_ints(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
ALWAYS_INLINE Ints zero_ints() { return _mm256_setzero_si256(); }
ALWAYS_INLINE Ints broadcast_int(int32_t x) { return _mm256_set1_epi32(x); }
ALWAYS_INLINE Ints add_ints(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
ALWAYS_INLINE Ints subtract_ints(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
ALWAYS_INLINE Ints multiply_ints(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }
ALWAYS_INLINE int32_t sum_of_ints(Ints a) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
ALWAYS_INLINE void store_bytes(int8_t* p, Ints a) {
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
ALWAYS_INLINE IntWeights load_weights(const int8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
ALWAYS_INLINE Ints broadcast_four(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
ALWAYS_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
