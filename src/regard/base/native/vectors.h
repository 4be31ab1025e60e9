// Vectors of 16 floats. Included inside an anonymous namespace and a region compiled for AVX-512.

using Floats = __m512;
constexpr int LANES = 16;

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }

inline void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }

// e^x for x ≤ 0, to 2e-7 of its value; 0 where that is below the smallest float, also for -∞. x = n·ln 2 + r.
inline Floats exponential(Floats x) {
    x = _mm512_max_ps(_mm512_set1_ps(-200), x);  // in this order NaN stays NaN
    const Floats n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    Floats r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693359375f), x);  // ln 2 in two parts, the first exact
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    Floats p = _mm512_set1_ps(1.0f / 720);
    for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    return _mm512_scalef_ps(p, n);
}

inline __mmask16 first_lanes(int64_t count) {
    return count >= LANES ? __mmask16(0xffff) : count <= 0 ? __mmask16(0) : __mmask16((1u << count) - 1);
}

// f(0), …, f(N - 1) with each number known to the compiler, so that an array of N vectors stays in registers.
template <int N, class F>
inline __attribute__((always_inline)) void unroll(F&& f) {
    if constexpr (N > 0) {
        unroll<N - 1>(f);
        f(std::integral_constant<int, N - 1>());
    }
}
