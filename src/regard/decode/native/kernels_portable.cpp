// Plain C++ for any processor: four lanes, which compilers turn into whatever vectors there are (SSE2, NEON).

#include "simd.h"

namespace regard {
namespace {

constexpr int LANES = 4, PANEL_VECTORS = 4, ROWS = 2;
constexpr uint8_t WEIGHT_OFFSET = 0;
constexpr bool UNSIGNED_INPUTS = false;

struct Floats {
    float lane[LANES];
};
struct Ints {
    int32_t lane[LANES];
};
struct IntWeights {
    int8_t bytes[4 * LANES];
};

template <class To, class F>
ALWAYS_INLINE To each(F&& f) {
    To to;
    for (int i = 0; i < LANES; ++i) to.lane[i] = f(i);
    return to;
}

ALWAYS_INLINE Floats load(const float* p) {
    Floats x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
ALWAYS_INLINE void store(float* p, Floats x) { std::memcpy(p, &x, sizeof x); }
ALWAYS_INLINE Floats broadcast(float x) {
    return each<Floats>([&](int) { return x; });
}
ALWAYS_INLINE Floats zero() { return broadcast(0.0f); }
ALWAYS_INLINE Floats add(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] + b.lane[i]; });
}
ALWAYS_INLINE Floats subtract(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] - b.lane[i]; });
}
ALWAYS_INLINE Floats multiply(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] * b.lane[i]; });
}
ALWAYS_INLINE Floats divide(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] / b.lane[i]; });
}
ALWAYS_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    return each<Floats>([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
ALWAYS_INLINE Floats maximum(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
ALWAYS_INLINE Floats minimum(Floats a, Floats b) {
    return each<Floats>([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
ALWAYS_INLINE Floats absolute(Floats a) {
    return each<Floats>([&](int i) { return std::fabs(a.lane[i]); });
}
ALWAYS_INLINE Ints round_to_int(Floats a) {
    return each<Ints>([&](int i) { return int32_t(std::lrintf(a.lane[i])); });
}
ALWAYS_INLINE Floats to_float(Ints a) {
    return each<Floats>([&](int i) { return float(a.lane[i]); });
}
ALWAYS_INLINE Floats two_to_the(Ints n) {
    const Ints bits = each<Ints>([&](int i) { return (n.lane[i] + 127) * (1 << 23); });
    Floats x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
ALWAYS_INLINE float sum_of(Floats a) { return (a.lane[0] + a.lane[1]) + (a.lane[2] + a.lane[3]); }
ALWAYS_INLINE float largest_of(Floats a) {
    return std::max(std::max(a.lane[0], a.lane[1]), std::max(a.lane[2], a.lane[3]));
}
ALWAYS_INLINE bool any_greater(Floats a, Floats b) {
    int found = 0;
    for (int i = 0; i < LANES; ++i) found |= a.lane[i] > b.lane[i];
    return found;
}
ALWAYS_INLINE void sums_of_four(const Floats (&a)[4], float* out) {
    for (int i = 0; i < 4; ++i) out[i] = sum_of(a[i]);
}

ALWAYS_INLINE Ints load_ints(const int32_t* p) {
    return each<Ints>([&](int i) { return p[i]; });
}
ALWAYS_INLINE Ints zero_ints() {
    return each<Ints>([](int) { return 0; });
}
ALWAYS_INLINE Ints broadcast_int(int32_t x) {
    return each<Ints>([&](int) { return x; });
}
ALWAYS_INLINE Ints add_ints(Ints a, Ints b) {
    return each<Ints>([&](int i) { return a.lane[i] + b.lane[i]; });
}
ALWAYS_INLINE Ints subtract_ints(Ints a, Ints b) {
    return each<Ints>([&](int i) { return a.lane[i] - b.lane[i]; });
}
ALWAYS_INLINE Ints multiply_ints(Ints a, Ints b) {
    return each<Ints>([&](int i) { return a.lane[i] * b.lane[i]; });
}
ALWAYS_INLINE int32_t sum_of_ints(Ints a) { return a.lane[0] + a.lane[1] + a.lane[2] + a.lane[3]; }
ALWAYS_INLINE void store_bytes(int8_t* p, Ints a) {
    for (int i = 0; i < LANES; ++i) p[i] = int8_t(a.lane[i]);
}
ALWAYS_INLINE IntWeights load_weights(const int8_t* p) {
    IntWeights w;
    std::memcpy(&w, p, sizeof w);
    return w;
}
// Four bytes of the row, widened, one a lane.
ALWAYS_INLINE Ints broadcast_four(const int8_t* p) {
    return each<Ints>([&](int i) { return int32_t(p[i]); });
}
ALWAYS_INLINE void dot(Ints& sum, IntWeights w, Ints four) {
    for (int i = 0; i < LANES; ++i) {
        for (int j = 0; j < 4; ++j) sum.lane[i] += w.bytes[4 * i + j] * four.lane[j];
    }
}
ALWAYS_INLINE void prefetch(const void*) {}

#include "kernels_impl.h"

constexpr Kernels KERNELS = table("portable");

}  // namespace

const Kernels* portable_kernels() { return &KERNELS; }

}  // namespace regard
