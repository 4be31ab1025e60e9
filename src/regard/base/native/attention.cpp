// Attention over short sequences: one head of one row of the batch at a time, all of it in the first-level cache.
//
// Scores are products of pairs of bfloat16 (vdpbf16ps), so keys are laid out in pairs with the keys side by side:
//   [width / 2][keys rounded up to 16] of pairs, each 32 bits,
// and one instruction multiplies a pair of a query with that pair of 16 keys. The second product, weights times
// values, runs over rows of values in float32. Queries are taken QUERIES at a time: their independent sums hide the
// latency of the instruction. The last ones may repeat a query, whose result is then not used.

#include "training.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

namespace regard {
namespace {

#include "vectors.h"

constexpr int QUERIES = 4;

// Memory for one head, kept by its thread.
struct Workspace {
    std::vector<float> memory;

    // Aligned parts of the given sizes, in floats (each rounded up to a vector).
    template <size_t N>
    void divide(const size_t (&sizes)[N], float* (&parts)[N]) {
        size_t total = LANES;
        for (size_t size : sizes) total += size + LANES;
        if (memory.size() < total) memory.resize(total);
        auto address = (reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63);
        for (size_t i = 0; i < N; ++i) {
            parts[i] = reinterpret_cast<float*>(address);
            address += (sizes[i] + LANES - 1) / LANES * LANES * sizeof(float);
        }
    }
};

thread_local Workspace workspace;

// Transposes 16 rows of 16 words of 32 bits.
inline void transpose(__m512i (&r)[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 4) {
        const __m512i a = _mm512_unpacklo_epi32(r[i], r[i + 1]), b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]), d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
        t[i] = _mm512_unpacklo_epi64(a, c);
        t[i + 1] = _mm512_unpackhi_epi64(a, c);
        t[i + 2] = _mm512_unpacklo_epi64(b, d);
        t[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // now t[4g + c] has, in its quarter q, column 4q + c of rows 4g to 4g + 3
    for (int c = 0; c < 4; ++c) {
        const __m512i a = _mm512_shuffle_i32x4(t[c], t[4 + c], 0x88), b = _mm512_shuffle_i32x4(t[c], t[4 + c], 0xdd);
        const __m512i d = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0x88);
        const __m512i e = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0xdd);
        r[c] = _mm512_shuffle_i32x4(a, d, 0x88);
        r[8 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
        r[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88);
        r[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
    }
}

// Rows of keys to pairs side by side, [width / 2][padded]; rows beyond the last are zero.
void lay_out_pairs(const bfloat16* rows, ptrdiff_t stride, int64_t count, int64_t width, int64_t padded, float* pairs) {
    for (int64_t j = 0; j < padded; j += 16) {
        for (int64_t c = 0; c < width; c += 32) {
            __m512i block[16];
            for (int i = 0; i < 16; ++i) {
                block[i] = j + i < count ? _mm512_loadu_si512(rows + (j + i) * stride + c) : _mm512_setzero_si512();
            }
            transpose(block);
            for (int i = 0; i < 16; ++i) _mm512_store_si512(pairs + (c / 2 + i) * padded + j, block[i]);
        }
    }
}

void widen(const bfloat16* rows, ptrdiff_t stride, int64_t count, int64_t width, float* to) {
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < width; c += LANES) _mm512_store_ps(to + i * width + c, load(rows + i * stride + c));
    }
}

void narrow(const float* from, int64_t count, int64_t width, bfloat16* rows, ptrdiff_t stride) {
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < width; c += LANES) store(rows + i * stride + c, _mm512_load_ps(from + i * width + c));
    }
}

// products[q][j] = factor · rows[q] · key j
void multiply_pairs(const bfloat16* const (&rows)[QUERIES], const float* pairs, int64_t width, int64_t padded,
                    float factor, float* products) {
    for (int64_t j = 0; j < padded; j += LANES) {
        Floats sums[QUERIES];
        unroll<QUERIES>([&](auto q) { sums[q] = _mm512_setzero_ps(); });
        for (int64_t i = 0; i < width / 2; ++i) {
            const auto key = (__m512bh)_mm512_load_ps(pairs + i * padded + j);
            unroll<QUERIES>([&](auto q) {
                int32_t pair;
                std::memcpy(&pair, rows[q] + 2 * i, sizeof pair);
                sums[q] = _mm512_dpbf16_ps(sums[q], (__m512bh)_mm512_set1_epi32(pair), key);
            });
        }
        unroll<QUERIES>([&](auto q) {
            _mm512_store_ps(products + q * padded + j, _mm512_mul_ps(sums[q], _mm512_set1_ps(factor)));
        });
    }
}

// Scores to weights, in place. Keys beyond the last, and those that may not be attended to, weigh nothing.
void softmax(float* scores, const uint8_t* const (&allowed)[QUERIES], int64_t keys, int64_t padded) {
    const Floats nothing = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    Floats largest[QUERIES], total[QUERIES];
    unroll<QUERIES>([&](auto q) { largest[q] = nothing; });
    for (int64_t j = 0; j < padded; j += LANES) {
        const __mmask16 present = first_lanes(keys - j);
        unroll<QUERIES>([&](auto q) {
            __mmask16 seen = present;
            if (allowed[q]) {
                const __m128i table = _mm_maskz_loadu_epi8(present, allowed[q] + j);
                seen = _mm_test_epi8_mask(table, table);
            }
            const Floats score = _mm512_mask_mov_ps(nothing, seen, _mm512_load_ps(scores + q * padded + j));
            _mm512_store_ps(scores + q * padded + j, score);
            largest[q] = _mm512_max_ps(largest[q], score);
        });
    }
    unroll<QUERIES>([&](auto q) {
        // a query that sees nothing: every e^(-∞ - lowest) is 0
        const float maximum = std::max(_mm512_reduce_max_ps(largest[q]), std::numeric_limits<float>::lowest());
        largest[q] = _mm512_set1_ps(maximum);
        total[q] = _mm512_setzero_ps();
    });
    for (int64_t j = 0; j < padded; j += LANES) {
        unroll<QUERIES>([&](auto q) {
            const Floats weight = exponential(_mm512_sub_ps(_mm512_load_ps(scores + q * padded + j), largest[q]));
            _mm512_store_ps(scores + q * padded + j, weight);
            total[q] = _mm512_add_ps(total[q], weight);
        });
    }
    unroll<QUERIES>([&](auto q) {
        const float sum = _mm512_reduce_add_ps(total[q]);
        total[q] = _mm512_set1_ps(sum > 0 ? 1 / sum : 0.0f);
    });
    for (int64_t j = 0; j < padded; j += LANES) {
        unroll<QUERIES>([&](auto q) {
            float* at = scores + q * padded + j;
            _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), total[q]));
        });
    }
}

// Gradients with respect to weights, in place, to those with respect to scores, times scale: through the softmax,
// weight · (gradient - the weighted mean of the gradients).
void softmax_backward(const float* weights, int64_t padded, float scale, float* slopes) {
    Floats mean[QUERIES];
    unroll<QUERIES>([&](auto q) { mean[q] = _mm512_setzero_ps(); });
    for (int64_t j = 0; j < padded; j += LANES) {
        unroll<QUERIES>([&](auto q) {
            const int64_t at = q * padded + j;
            mean[q] = _mm512_fmadd_ps(_mm512_load_ps(weights + at), _mm512_load_ps(slopes + at), mean[q]);
        });
    }
    unroll<QUERIES>([&](auto q) { mean[q] = _mm512_set1_ps(_mm512_reduce_add_ps(mean[q])); });
    for (int64_t j = 0; j < padded; j += LANES) {
        unroll<QUERIES>([&](auto q) {
            const int64_t at = q * padded + j;
            const Floats scaled = _mm512_mul_ps(_mm512_load_ps(weights + at), _mm512_set1_ps(scale));
            _mm512_store_ps(slopes + at, _mm512_mul_ps(scaled, _mm512_sub_ps(_mm512_load_ps(slopes + at), mean[q])));
        });
    }
}

// For each query: the sum over j of weights[q][j] · rows[j], handed to `to(q, c, sum)` 16 columns at a time.
template <class To>
void weigh(const float* weights, int64_t padded, const float* rows, int64_t count, int64_t width, To&& to) {
    for (int64_t c = 0; c < width; c += 2 * LANES) {
        Floats left[QUERIES], right[QUERIES];
        unroll<QUERIES>([&](auto q) { left[q] = right[q] = _mm512_setzero_ps(); });
        for (int64_t j = 0; j < count; ++j) {
            const Floats a = _mm512_load_ps(rows + j * width + c), b = _mm512_load_ps(rows + j * width + c + LANES);
            unroll<QUERIES>([&](auto q) {
                const Floats weight = _mm512_set1_ps(weights[q * padded + j]);
                left[q] = _mm512_fmadd_ps(weight, a, left[q]);
                right[q] = _mm512_fmadd_ps(weight, b, right[q]);
            });
        }
        unroll<QUERIES>([&](auto q) {
            to(q, c, left[q]);
            to(q, c + LANES, right[q]);
        });
    }
}

// rows[j] += sum over the queries of weights[q][j] · query_rows[q]
void add_outer(const float* weights, int64_t padded, const float* query_rows, int64_t count, int64_t width,
               float* rows) {
    for (int64_t c = 0; c < width; c += 2 * LANES) {
        Floats left[QUERIES], right[QUERIES];
        unroll<QUERIES>([&](auto q) {
            left[q] = _mm512_load_ps(query_rows + q * width + c);
            right[q] = _mm512_load_ps(query_rows + q * width + c + LANES);
        });
        for (int64_t j = 0; j < count; ++j) {
            float* row = rows + j * width + c;
            Floats a = _mm512_load_ps(row), b = _mm512_load_ps(row + LANES);
            unroll<QUERIES>([&](auto q) {
                const Floats weight = _mm512_set1_ps(weights[q * padded + j]);
                a = _mm512_fmadd_ps(weight, left[q], a);
                b = _mm512_fmadd_ps(weight, right[q], b);
            });
            _mm512_store_ps(row, a);
            _mm512_store_ps(row + LANES, b);
        }
    }
}

const uint8_t* allowed_row(const Allowed& allowed, int64_t b, int64_t t) {
    return allowed.data ? allowed.data + b * allowed.batch + t * allowed.row : nullptr;
}

}  // namespace

void attention_forward(const AttentionSizes& size, Heads query, Heads key, Heads value, Allowed allowed,
                       Heads output) {
    const int64_t padded = (size.keys + LANES - 1) / LANES * LANES;
    float* parts[3];
    workspace.divide({size_t(size.key_width / 2 * padded), size_t(size.keys * size.value_width), size_t(QUERIES * padded)},
                     parts);
    auto [pairs, values, weights] = parts;
    for (int64_t b = 0; b < size.batch; ++b) {
        for (int64_t h = 0; h < size.heads; ++h) {
            lay_out_pairs(key.at(b, h, 0), key.row, size.keys, size.key_width, padded, pairs);
            widen(value.at(b, h, 0), value.row, size.keys, size.value_width, values);
            for (int64_t t = 0; t < size.queries; t += QUERIES) {
                const int present = int(std::min<int64_t>(QUERIES, size.queries - t));
                const bfloat16* rows[QUERIES];
                const uint8_t* tables[QUERIES];
                for (int q = 0; q < QUERIES; ++q) {
                    rows[q] = query.at(b, h, t + std::min(q, present - 1));
                    tables[q] = allowed_row(allowed, b, t + std::min(q, present - 1));
                }
                multiply_pairs(rows, pairs, size.key_width, padded, size.scale, weights);
                softmax(weights, tables, size.keys, padded);
                weigh(weights, padded, values, size.keys, size.value_width, [&](int q, int64_t c, Floats sum) {
                    if (q < present) store(output.at(b, h, t + q) + c, sum);
                });
            }
        }
    }
}

void attention_backward(const AttentionSizes& size, Heads query, Heads key, Heads value, Allowed allowed,
                        Heads output_gradient, Heads query_gradient, Heads key_gradient, Heads value_gradient) {
    const int64_t padded = (size.keys + LANES - 1) / LANES * LANES;
    const int64_t key_width = size.key_width, value_width = size.value_width;
    float* parts[9];
    workspace.divide({size_t(key_width / 2 * padded), size_t(value_width / 2 * padded), size_t(size.keys * key_width),
                      size_t(QUERIES * padded), size_t(QUERIES * padded), size_t(QUERIES * key_width),
                      size_t(QUERIES * value_width), size_t(size.keys * key_width), size_t(size.keys * value_width)},
                     parts);
    auto [key_pairs, value_pairs, keys, weights, slopes, queries, slopes_out, key_sums, value_sums] = parts;
    for (int64_t b = 0; b < size.batch; ++b) {
        for (int64_t h = 0; h < size.heads; ++h) {
            lay_out_pairs(key.at(b, h, 0), key.row, size.keys, key_width, padded, key_pairs);
            lay_out_pairs(value.at(b, h, 0), value.row, size.keys, value_width, padded, value_pairs);
            widen(key.at(b, h, 0), key.row, size.keys, key_width, keys);
            std::fill(key_sums, key_sums + size.keys * key_width, 0.0f);
            std::fill(value_sums, value_sums + size.keys * value_width, 0.0f);
            for (int64_t t = 0; t < size.queries; t += QUERIES) {
                const int present = int(std::min<int64_t>(QUERIES, size.queries - t));
                const bfloat16 *rows[QUERIES], *rows_out[QUERIES];
                const uint8_t* tables[QUERIES];
                for (int q = 0; q < QUERIES; ++q) {
                    rows[q] = query.at(b, h, t + std::min(q, present - 1));
                    rows_out[q] = output_gradient.at(b, h, t + std::min(q, present - 1));
                    tables[q] = allowed_row(allowed, b, t + std::min(q, present - 1));
                    widen(rows[q], 0, 1, key_width, queries + q * key_width);
                    widen(rows_out[q], 0, 1, value_width, slopes_out + q * value_width);
                }
                multiply_pairs(rows, key_pairs, key_width, padded, size.scale, weights);
                multiply_pairs(rows_out, value_pairs, value_width, padded, 1.0f, slopes);
                softmax(weights, tables, size.keys, padded);
                softmax_backward(weights, padded, size.scale, slopes);
                // what a repeated query adds below is nothing
                std::fill(weights + present * padded, weights + QUERIES * padded, 0.0f);
                std::fill(slopes + present * padded, slopes + QUERIES * padded, 0.0f);
                weigh(slopes, padded, keys, size.keys, key_width, [&](int q, int64_t c, Floats sum) {
                    if (q < present) store(query_gradient.at(b, h, t + q) + c, sum);
                });
                add_outer(slopes, padded, queries, size.keys, key_width, key_sums);
                add_outer(weights, padded, slopes_out, size.keys, value_width, value_sums);
            }
            narrow(key_sums, size.keys, key_width, key_gradient.at(b, h, 0), key_gradient.row);
            narrow(value_sums, size.keys, value_width, value_gradient.at(b, h, 0), value_gradient.row);
        }
    }
}

}  // namespace regard

#pragma GCC pop_options

#endif
