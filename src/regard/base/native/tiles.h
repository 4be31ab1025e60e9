// Products of small matrices that stay in the cache. Included where `Number` is the type that is multiplied and `Stored`
// that of the tensors, after vectors.h; see kernels_bfloat16.cpp.
//
// A word is 32 bits: one float, or a pair of bfloat16, of which one instruction multiplies and adds both. Two tables of
// words are multiplied by
//   sums[m][n] += Σ_k left[m][k] · right[k][n]
// where `left` is read word by word and `right` in vectors: n are the lanes. So `left` has neighbours in a row as its
// pairs, which is how tensors lie in memory, and `right` neighbours in a column (`pair_rows` of the including file).

using Word = uint32_t;
constexpr int PER_WORD = sizeof(Word) / sizeof(Number);

constexpr int TILE = 64;  // rows and columns of a tile, at most
constexpr int ROWS = 8;   // of a tile that are computed at once: their independent sums hide the instruction's latency

constexpr int64_t round_up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

constexpr int64_t words(int64_t numbers) { return (numbers + PER_WORD - 1) / PER_WORD; }

inline Floats load_words(const Word* from) { return _mm512_castsi512_ps(_mm512_loadu_si512(from)); }

inline void store_words(Word* to, Floats x) { _mm512_storeu_si512(to, _mm512_castps_si512(x)); }

template <int M, int N>
void multiply_block(const Word* left, int64_t left_row, const Word* right, int64_t row, int64_t depth, float* sums,
                    bool add) {
    Floats sum[M][N];
    unroll<M>([&](auto m) {
        unroll<N>([&](auto n) { sum[m][n] = add ? load(sums + m * row + n * LANES) : _mm512_setzero_ps(); });
    });
    for (int64_t k = 0; k < depth; ++k) {
        Floats vectors[N];
        unroll<N>([&](auto n) { vectors[n] = load_words(right + k * row + n * LANES); });
        unroll<M>([&](auto m) {
            const Floats word = _mm512_castsi512_ps(_mm512_set1_epi32(int(left[m * left_row + k])));
            unroll<N>([&](auto n) { sum[m][n] = multiply_add(word, vectors[n], sum[m][n]); });
        });
    }
    unroll<M>([&](auto m) { unroll<N>([&](auto n) { store(sums + m * row + n * LANES, sum[m][n]); }); });
}

template <int M, int N>
void multiply_last(const Word* left, int64_t left_row, const Word* right, int64_t row, int64_t depth, int64_t rows,
                   float* sums, bool add) {
    if constexpr (M > 0) {
        if (rows == M) return multiply_block<M, N>(left, left_row, right, row, depth, sums, add);
        multiply_last<M - 1, N>(left, left_row, right, row, depth, rows, sums, add);
    }
}

template <int N>
void multiply_rows(const Word* left, int64_t left_row, const Word* right, int64_t row, int64_t depth, int64_t rows,
                   float* sums, bool add) {
    for (; rows >= ROWS; rows -= ROWS, left += ROWS * left_row, sums += ROWS * row) {
        multiply_block<ROWS, N>(left, left_row, right, row, depth, sums, add);
    }
    multiply_last<ROWS - 1, N>(left, left_row, right, row, depth, rows, sums, add);
}

// rows×columns sums of rows×depth and depth×columns words; columns is a multiple of LANES.
inline void multiply(const Word* left, int64_t left_row, const Word* right, int64_t depth, int64_t rows,
                     int64_t columns, float* sums, bool add) {
    int64_t n = 0;
    for (; n + 2 * LANES <= columns; n += 2 * LANES) {
        multiply_rows<2>(left, left_row, right + n, columns, depth, rows, sums + n, add);
    }
    if (n < columns) multiply_rows<1>(left, left_row, right + n, columns, depth, rows, sums + n, add);
}

// Rows of a tensor one after the other; those from `count` on, up to `padded`, are zero.
inline void copy_rows(const Stored* from, ptrdiff_t stride, int64_t count, int64_t padded, int64_t width, Word* to) {
    for (int64_t i = 0; i < count; ++i) {
        if constexpr (std::is_same_v<Stored, Number>) {
            std::memcpy(to + i * words(width), from + i * stride, width * sizeof(Number));
        } else {
            auto* row = reinterpret_cast<Number*>(to + i * words(width));
            for (int64_t c = 0; c < width; c += LANES) store(row + c, load(from + i * stride + c));
        }
    }
    std::memset(to + count * words(width), 0, (padded - count) * words(width) * sizeof(Word));
}

inline void turn_block(__m512i (&r)[16]) {
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

// to[c][r] = from[r][c], both multiples of 16.
inline void turn(const Word* from, int64_t rows, int64_t columns, Word* to, int64_t to_row) {
    for (int64_t r = 0; r < rows; r += 16) {
        for (int64_t c = 0; c < columns; c += 16) {
            __m512i block[16];
            for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(from + (r + i) * columns + c);
            turn_block(block);
            for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + (c + i) * to_row + r, block[i]);
        }
    }
}

// Sums, count×width, to rows of a tensor.
inline void write_rows(const float* sums, int64_t count, int64_t width, Stored* to, ptrdiff_t stride) {
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < width; c += LANES) store(to + i * stride + c, load(sums + i * width + c));
    }
}

// Sums, width×lanes, to the first `count` rows of a tensor, count×width. `scratch` has lanes×width words.
inline void write_turned(const float* sums, int64_t width, int64_t lanes, int64_t count, Word* scratch, Stored* to,
                         ptrdiff_t stride) {
    turn(reinterpret_cast<const Word*>(sums), width, lanes, scratch, width);
    write_rows(reinterpret_cast<const float*>(scratch), count, width, to, stride);
}
