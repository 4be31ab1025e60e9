// Attention a tile of keys and queries at a time, in a memory that grows with the length (after Dao et al. 2022,
// FlashAttention). Included where `Stored` is the type of the tensors, after tiles.h; see kernels_bfloat16.cpp.
//
// The lanes of a vector are 16 queries. So scores stand as keys×queries, what belongs to a query (its highest score, the
// sum of its weights, which keys it sees) is a lane, and nothing is ever summed across lanes.

// Memory of one thread, kept for its next call.
struct Workspace {
    std::vector<float> memory;

    // Aligned parts of the given sizes, in words.
    template <size_t N>
    void divide(const int64_t (&sizes)[N], Word* (&parts)[N]) {
        size_t total = LANES;
        for (int64_t size : sizes) total += size_t(round_up(size, LANES));
        if (memory.size() < total) memory.resize(total);
        auto address = (reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t(63);
        for (size_t i = 0; i < N; ++i) {
            parts[i] = reinterpret_cast<Word*>(address);
            address += size_t(round_up(sizes[i], LANES)) * sizeof(Word);
        }
    }
};

thread_local Workspace workspace;

inline float* floats(Word* words) { return reinterpret_cast<float*>(words); }

// f(0) to f(count - 1), on several threads.
template <class F>
void share(int64_t count, int threads, F&& f) {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t i = next++; i < count; i = next++) f(i);
    };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < std::min<int64_t>(threads, count); ++i) others.emplace_back(work);
    work();
    for (auto& other : others) other.join();
}

// Up to TILE queries of one row of the batch and one head, and the keys they may attend to.
struct Queries {
    int64_t b, first, count, lanes;
    alignas(64) int32_t starts[TILE], stops[TILE];  // as in Allowed; 0 and 0 for lanes without a query
    int64_t any_from = INT32_MAX, any_until = 0;    // outside, no query sees a key
    int64_t all_from = 0, all_until = INT32_MAX;    // inside, every query sees every key
    const uint8_t* table;                           // S×T, or null
    int64_t row;                                    // T

    Queries(const AttentionSizes& size, const Allowed& allowed, int64_t b, int64_t first)
        : b(b), first(first), count(std::min<int64_t>(TILE, size.queries - first)), lanes(round_up(count, LANES)),
          table(allowed.table ? allowed.table + b * allowed.table_batch : nullptr), row(size.queries) {
        const ptrdiff_t at = b * allowed.run_batch + first;
        for (int64_t lane = 0; lane < lanes; lane += LANES) {
            const __mmask16 present = first_lanes(count - lane);
            const __m512i from = _mm512_maskz_loadu_epi32(present, allowed.starts + at + lane);
            const __m512i until = _mm512_maskz_loadu_epi32(present, allowed.stops + at + lane);
            const __mmask16 some = _mm512_cmplt_epi32_mask(from, until);
            _mm512_store_si512(starts + lane, from);
            _mm512_store_si512(stops + lane, until);
            any_from = std::min<int64_t>(any_from, _mm512_mask_reduce_min_epi32(some, from));
            any_until = std::max<int64_t>(any_until, _mm512_mask_reduce_max_epi32(some, until));
            all_from = std::max<int64_t>(all_from, _mm512_mask_reduce_max_epi32(present, from));
            all_until = std::min<int64_t>(all_until, _mm512_mask_reduce_min_epi32(present, until));
        }
    }

    bool sees_some(int64_t from, int64_t until) const { return any_from < until && from < any_until; }

    bool sees_all(int64_t from, int64_t until) const { return all_from <= from && until <= all_until && !table; }

    // Which lanes from `lane` on may attend to a key.
    __mmask16 seen(int64_t key, int64_t lane) const {
        const __m512i at = _mm512_set1_epi32(int(key));
        __mmask16 seen = _mm512_cmple_epi32_mask(_mm512_load_si512(starts + lane), at);
        seen = _mm512_mask_cmpgt_epi32_mask(seen, _mm512_load_si512(stops + lane), at);
        if (!table) return seen;
        const __m128i bytes = _mm_maskz_loadu_epi8(first_lanes(count - lane), table + key * row + first + lane);
        return seen & _mm_test_epi8_mask(bytes, bytes);
    }
};

// The score of a key as its queries see it: -∞ where they may not attend to it.
struct Scores {
    const Queries& queries;
    Floats scale;
    const float* added;  // of the first query and key 0, by distance, or null
    bool all;            // whether every query of the tile sees every key

    Scores(const AttentionSizes& size, const Queries& queries, const float* added, int64_t from, int64_t until)
        : queries(queries), scale(_mm512_set1_ps(size.scale)),
          added(added ? added + size.keys - 1 + queries.first : nullptr), all(!added && queries.sees_all(from, until)) {}

    Floats operator()(const float* products, int64_t key, int64_t lane) const {
        const Floats nothing = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
        Floats score = _mm512_mul_ps(scale, load(products));
        if (all) return score;
        __mmask16 seen = queries.seen(key, lane);
        if (added) {
            const __mmask16 present = first_lanes(queries.count - lane);
            score = _mm512_add_ps(score, _mm512_maskz_loadu_ps(present, added - key + lane));
            // what is far below is out of a span, which is as good as masked; NaN is not
            seen &= _mm512_cmp_ps_mask(score, _mm512_set1_ps(std::numeric_limits<float>::lowest() / 4), _CMP_NLE_UQ);
        }
        return _mm512_mask_mov_ps(nothing, seen, score);
    }
};

// The weights of some keys for the queries so far, in place of their scores, and as pairs of keys; the sums of the keys
// before are brought to the new highest score.
inline void online_softmax(const Scores& score, int64_t from, int64_t count, int64_t lanes, float* scores,
                           Word* weights, float* highest, float* totals, float* sums, int64_t width) {
    for (int64_t lane = 0; lane < lanes; lane += LANES) {
        const Floats before = load(highest + lane);
        Floats most = before;
        for (int64_t j = 0; j < count; ++j) {
            float* at = scores + j * lanes + lane;
            const Floats value = score(at, from + j, lane);
            store(at, value);
            most = _mm512_max_ps(most, value);
        }
        store(highest + lane, most);
        // a query that saw nothing so far: every e^(-∞ - lowest) is 0
        const Floats shift = _mm512_max_ps(most, _mm512_set1_ps(std::numeric_limits<float>::lowest()));
        Floats total = load(totals + lane);
        if (_mm512_cmp_ps_mask(before, most, _CMP_NEQ_UQ)) {
            const Floats factor = exponential(_mm512_sub_ps(before, shift));
            total = _mm512_mul_ps(total, factor);
            for (int64_t c = 0; c < width; ++c) {
                float* at = sums + c * lanes + lane;
                store(at, _mm512_mul_ps(load(at), factor));
            }
        }
        for (int64_t j = 0; j < count; j += PER_WORD) {
            Floats pair[2] = {};
            for (int i = 0; i < PER_WORD && j + i < count; ++i) {
                pair[i] = exponential(_mm512_sub_ps(load(scores + (j + i) * lanes + lane), shift));
                total = _mm512_add_ps(total, pair[i]);
            }
            store_words(weights + j / PER_WORD * lanes + lane, join(pair));
        }
        store(totals + lane, total);
    }
}

// A group of heads: those that share the keys and values of head `g`, in row `b` of the batch.
inline void forward_group(const AttentionSizes& size, int64_t b, int64_t g, const Heads<Stored>& query,
                          const Heads<Stored>& key, const Heads<Stored>& value, const Allowed& allowed,
                          const float* added, const Heads<Stored>& output, float* statistics) {
    const int64_t key_width = size.key_width, value_width = size.value_width, shared = size.heads / size.groups;
    const int64_t key_words = words(key_width), tiles = round_up(size.keys, TILE) / TILE;
    const int64_t widest = std::max(key_width, value_width), pairs = words(TILE);
    Word* parts[9];
    workspace.divide({size.keys * key_words, tiles * value_width * pairs, TILE * widest, TILE * widest,
                      key_words * TILE, TILE * TILE, pairs * TILE, value_width * TILE, 2 * TILE},
                     parts);
    auto [keys, values, scratch, more, turned, products, weights, sum_words, per_query] = parts;
    float *scores = floats(products), *sums = floats(sum_words), *highest = floats(per_query), *totals = highest + TILE;

    copy_rows(key.at(b, g, 0), key.row, size.keys, size.keys, key_width, keys);
    for (int64_t j = 0; j < size.keys; j += TILE) {
        const int64_t count = std::min<int64_t>(TILE, size.keys - j), padded = round_up(count, LANES * PER_WORD);
        copy_rows(value.at(b, g, j), value.row, count, padded, value_width, scratch);
        pair_rows(scratch, padded, value_width, more);
        turn(more, words(padded), value_width, values + j / TILE * value_width * pairs, pairs);
    }
    for (int64_t h = g * shared; h < (g + 1) * shared; ++h) {
        const float* by_distance = added ? added + h * (size.queries + size.keys - 1) : nullptr;
        for (int64_t t = 0; t < size.queries; t += TILE) {
            const Queries queries(size, allowed, b, t);
            const int64_t lanes = queries.lanes;
            copy_rows(query.at(b, h, t), query.row, queries.count, lanes, key_width, scratch);
            turn(scratch, lanes, key_words, turned, lanes);
            std::fill(highest, highest + lanes, -std::numeric_limits<float>::infinity());
            std::fill(totals, totals + lanes, 0.0f);
            std::fill(sums, sums + value_width * lanes, 0.0f);
            for (int64_t j = queries.any_from / TILE * TILE; j < queries.any_until; j += TILE) {
                const int64_t count = std::min<int64_t>(TILE, size.keys - j);
                multiply(keys + j * key_words, key_words, turned, key_words, count, lanes, scores, false);
                const Scores score(size, queries, by_distance, j, j + count);
                online_softmax(score, j, count, lanes, scores, weights, highest, totals, sums, value_width);
                multiply(values + j / TILE * value_width * pairs, pairs, weights, words(count), value_width, lanes,
                         sums, true);
            }
            for (int64_t lane = 0; lane < lanes; lane += LANES) {
                const Floats total = load(totals + lane);
                const __mmask16 some = _mm512_cmp_ps_mask(total, _mm512_setzero_ps(), _CMP_NEQ_UQ);
                const Floats inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1), total);
                for (int64_t c = 0; c < value_width; ++c) {
                    float* at = sums + c * lanes + lane;
                    store(at, _mm512_mul_ps(load(at), inverse));
                }
                const __mmask16 present = first_lanes(queries.count - lane);
                float* to = statistics + (b * size.heads + h) * 2 * size.queries + t + lane;
                const Floats lowest = _mm512_set1_ps(std::numeric_limits<float>::lowest());
                _mm512_mask_storeu_ps(to, present, _mm512_max_ps(load(highest + lane), lowest));
                _mm512_mask_storeu_ps(to + size.queries, present, inverse);
            }
            write_turned(sums, value_width, lanes, queries.count, scratch, output.at(b, h, t), output.row);
        }
    }
}

// What the gradient needs of a tile of queries, in one piece of memory.
struct QueryTile {
    Queries queries;
    int64_t head;
    Word *turned, *paired;           // queries: [key_width words][lanes], [lanes in pairs][key_width]
    Word *turned_out, *paired_out;   // gradients of the output, likewise
    float* sums;                     // gradients of the queries: [key_width][lanes]
    float *highest, *inverse, *mean; // statistics, and for each query the mean of the slopes of its weights
};

// Scores and slopes (the gradients of the weights), keys×queries, to weights (as rows) and to the gradients of the
// scores, times scale (as rows and as pairs of keys): through the softmax, weight · (slope - mean of the slopes).
inline void softmax_backward(const Scores& score, float scale, int64_t from, int64_t count, const QueryTile& tile,
                             const float* scores, const float* slopes, Number* weight_rows, Number* slope_rows,
                             Word* slope_pairs, float* added_gradient) {
    const int64_t lanes = tile.queries.lanes;
    for (int64_t lane = 0; lane < lanes; lane += LANES) {
        const Floats highest = load(tile.highest + lane), inverse = load(tile.inverse + lane);
        const Floats mean = load(tile.mean + lane);
        for (int64_t j = 0; j < count; j += PER_WORD) {
            Floats pair[2] = {};
            for (int i = 0; i < PER_WORD && j + i < count; ++i) {
                const int64_t at = (j + i) * lanes + lane;
                const Floats above = _mm512_sub_ps(score(scores + at, from + j + i, lane), highest);
                const Floats weight = _mm512_mul_ps(exponential(above), inverse);
                Floats slope = _mm512_mul_ps(weight, _mm512_sub_ps(load(slopes + at), mean));
                if (added_gradient) {
                    const __mmask16 present = first_lanes(tile.queries.count - lane);
                    float* to = added_gradient - (from + j + i) + lane;
                    _mm512_mask_storeu_ps(to, present, _mm512_add_ps(_mm512_maskz_loadu_ps(present, to), slope));
                }
                pair[i] = _mm512_mul_ps(slope, _mm512_set1_ps(scale));
                store(weight_rows + at, weight);
                store(slope_rows + at, pair[i]);
            }
            store_words(slope_pairs + j / PER_WORD * lanes + lane, join(pair));
        }
    }
}

inline void backward_group(const AttentionSizes& size, int64_t b, int64_t g, const Heads<Stored>& query,
                           const Heads<Stored>& key, const Heads<Stored>& value, const Allowed& allowed,
                           const float* added, const Heads<Stored>& output, const float* statistics,
                           const Heads<Stored>& output_gradient, const Heads<Stored>& query_gradient,
                           const Heads<Stored>& key_gradient, const Heads<Stored>& value_gradient,
                           float* added_gradient) {
    const int64_t key_width = size.key_width, value_width = size.value_width, shared = size.heads / size.groups;
    const int64_t key_words = words(key_width), value_words = words(value_width), pairs = words(TILE);
    const int64_t widest = std::max(key_width, value_width), distances = size.queries + size.keys - 1;
    const int64_t tiles = round_up(size.queries, TILE) / TILE;
    const int64_t in_tile = 2 * TILE * (key_words + value_words) + TILE * key_width + 3 * TILE;
    Word* parts[11];
    workspace.divide({shared * tiles * in_tile, TILE * widest, TILE * key_words, TILE * value_words, key_width * pairs,
                      TILE * TILE, TILE * TILE, TILE * pairs, TILE * pairs, TILE * pairs, TILE * 2 * widest},
                     parts);
    auto [tile_words, scratch, keys, values, turned_keys, products, slope_words, weight_rows, slope_rows, slope_pairs,
          sum_words] = parts;
    float *scores = floats(products), *slopes = floats(slope_words);
    float *key_sums = floats(sum_words), *value_sums = key_sums + TILE * widest;

    std::vector<QueryTile> query_tiles;
    query_tiles.reserve(size_t(shared * tiles));
    for (int64_t h = g * shared; h < (g + 1) * shared; ++h) {
        for (int64_t t = 0; t < size.queries; t += TILE) {
            const Queries queries(size, allowed, b, t);
            const int64_t lanes = queries.lanes, count = queries.count;
            Word* at = tile_words + int64_t(query_tiles.size()) * in_tile;
            const auto take = [&](int64_t size) { return std::exchange(at, at + size); };
            QueryTile tile{queries, h, take(TILE * key_words), take(TILE * key_words), take(TILE * value_words),
                           take(TILE * value_words), floats(take(TILE * key_width)), floats(take(TILE)),
                           floats(take(TILE)), floats(take(TILE))};
            copy_rows(query.at(b, h, t), query.row, count, lanes, key_width, scratch);
            turn(scratch, lanes, key_words, tile.turned, lanes);
            pair_rows(scratch, lanes, key_width, tile.paired);
            copy_rows(output_gradient.at(b, h, t), output_gradient.row, count, lanes, value_width, scratch);
            turn(scratch, lanes, value_words, tile.turned_out, lanes);
            pair_rows(scratch, lanes, value_width, tile.paired_out);
            std::fill(tile.sums, tile.sums + key_width * lanes, 0.0f);
            const float* known = statistics + (b * size.heads + h) * 2 * size.queries + t;
            for (int64_t i = 0; i < lanes; ++i) {
                tile.highest[i] = i < count ? known[i] : 0.0f;
                tile.inverse[i] = i < count ? known[size.queries + i] : 0.0f;
                Floats mean = _mm512_setzero_ps();
                for (int64_t c = 0; i < count && c < value_width; c += LANES) {
                    const Floats slope = load(output_gradient.at(b, h, t + i) + c);
                    mean = _mm512_fmadd_ps(load(output.at(b, h, t + i) + c), slope, mean);
                }
                tile.mean[i] = _mm512_reduce_add_ps(mean);
            }
            query_tiles.push_back(tile);
        }
    }
    for (int64_t j = 0; j < size.keys; j += TILE) {
        const int64_t count = std::min<int64_t>(TILE, size.keys - j), padded = round_up(count, LANES * PER_WORD);
        copy_rows(value.at(b, g, j), value.row, count, count, value_width, values);
        copy_rows(key.at(b, g, j), key.row, count, padded, key_width, keys);
        pair_rows(keys, padded, key_width, scratch);
        turn(scratch, words(padded), key_width, turned_keys, pairs);
        std::fill(key_sums, key_sums + count * key_width, 0.0f);
        std::fill(value_sums, value_sums + count * value_width, 0.0f);
        for (const QueryTile& tile : query_tiles) {
            const Queries& queries = tile.queries;
            if (!queries.sees_some(j, j + count)) continue;
            const int64_t lanes = queries.lanes, lane_words = words(lanes);
            const int64_t by_distance = tile.head * distances;
            const Scores score(size, queries, added ? added + by_distance : nullptr, j, j + count);
            float* learned = added_gradient ? added_gradient + by_distance + size.keys - 1 + queries.first : nullptr;
            multiply(keys, key_words, tile.turned, key_words, count, lanes, scores, false);
            multiply(values, value_words, tile.turned_out, value_words, count, lanes, slopes, false);
            softmax_backward(score, size.scale, j, count, tile, scores, slopes, reinterpret_cast<Number*>(weight_rows),
                             reinterpret_cast<Number*>(slope_rows), slope_pairs, learned);
            multiply(weight_rows, lane_words, tile.paired_out, lane_words, count, value_width, value_sums, true);
            multiply(slope_rows, lane_words, tile.paired, lane_words, count, key_width, key_sums, true);
            multiply(turned_keys, pairs, slope_pairs, words(count), key_width, lanes, tile.sums, true);
        }
        write_rows(key_sums, count, key_width, key_gradient.at(b, g, j), key_gradient.row);
        write_rows(value_sums, count, value_width, value_gradient.at(b, g, j), value_gradient.row);
    }
    for (const QueryTile& tile : query_tiles) {
        const Queries& queries = tile.queries;
        write_turned(tile.sums, key_width, queries.lanes, queries.count, scratch,
                     query_gradient.at(b, tile.head, queries.first), query_gradient.row);
    }
}

inline void attention_forward(const AttentionSizes& size, const Heads<Stored>& query, const Heads<Stored>& key,
                              const Heads<Stored>& value, const Allowed& allowed, const float* added,
                              const Heads<Stored>& output, float* statistics) {
    share(size.batch * size.groups, size.threads, [&](int64_t i) {
        forward_group(size, i / size.groups, i % size.groups, query, key, value, allowed, added, output, statistics);
    });
}

inline void attention_backward(const AttentionSizes& size, const Heads<Stored>& query, const Heads<Stored>& key,
                               const Heads<Stored>& value, const Allowed& allowed, const float* added,
                               const Heads<Stored>& output, const float* statistics,
                               const Heads<Stored>& output_gradient, const Heads<Stored>& query_gradient,
                               const Heads<Stored>& key_gradient, const Heads<Stored>& value_gradient,
                               float* added_gradient) {
    const auto group = [&](int64_t b, int64_t g) {
        backward_group(size, b, g, query, key, value, allowed, added, output, statistics, output_gradient,
                       query_gradient, key_gradient, value_gradient, added_gradient);
    };
    if (added_gradient) {  // rows of the batch add to the same numbers
        share(size.groups, size.threads, [&](int64_t g) {
            for (int64_t b = 0; b < size.batch; ++b) group(b, g);
        });
    } else {
        share(size.batch * size.groups, size.threads, [&](int64_t i) { group(i / size.groups, i % size.groups); });
    }
}
