// The algorithms of kernels.h over one instruction set's vectors. Included inside an anonymous namespace, by a file
// that has defined:
//   Floats, Ints            vectors of LANES float / int32
//   LANES, PANEL_VECTORS    and vectors in a panel of weights
//   ROWS                    rows of a tile: as many as leave ROWS·PANEL_VECTORS sums in registers
//   WEIGHT_OFFSET, UNSIGNED_INPUTS   see Kernels
//   load, store, broadcast, zero, add, subtract, multiply, divide, multiply_add, maximum, minimum, absolute,
//   round_to_int, to_float, two_to_the, sum_of, largest_of, any_greater, sums_of_four      on floats
//   IntWeights, load_weights, dot, broadcast_four, zero_ints, add_ints, subtract_ints, multiply_ints, broadcast_int,
//   sum_of_ints, load_ints, store_bytes                                                                            on ints
// There is deliberately no include guard: each instruction set includes it once.

constexpr int PANEL = PANEL_VECTORS * LANES;

// f(0), …, f(N - 1) with each number known to the compiler. A loop that the compiler unrolls by itself would leave
// an array of sums in memory; this puts each in a register.
template <int N, class F>
ALWAYS_INLINE void unroll(F&& f) {
    if constexpr (N > 0) {
        unroll<N - 1>(f);
        f(std::integral_constant<int, N - 1>());
    }
}

// ---- elementwise functions

// e^x for x up to 88, to about 2 units of the last place: x = n·ln 2 + r, 2^n by its exponent, e^r by Taylor's
// polynomial.
ALWAYS_INLINE Floats exponential(Floats x) {
    x = maximum(x, broadcast(-87.0f));
    const Ints whole = round_to_int(multiply(x, broadcast(1.44269504f)));
    const Floats n = to_float(whole);
    Floats r = multiply_add(n, broadcast(-0.693359375f), x);  // ln 2 in two parts, the first exact
    r = multiply_add(n, broadcast(2.12194440e-4f), r);
    Floats p = broadcast(1.0f / 720);
    p = multiply_add(p, r, broadcast(1.0f / 120));
    p = multiply_add(p, r, broadcast(1.0f / 24));
    p = multiply_add(p, r, broadcast(1.0f / 6));
    p = multiply_add(p, r, broadcast(0.5f));
    p = multiply_add(p, r, broadcast(1.0f));
    p = multiply_add(p, r, broadcast(1.0f));
    return multiply(p, two_to_the(whole));
}

// x·Φ(x), with the error function of Abramowitz and Stegun, 7.1.26 (absolute error 1.5e-7).
ALWAYS_INLINE Floats gelu(Floats x) {
    const Floats z = multiply(absolute(x), broadcast(0.70710678f));
    const Floats t = divide(broadcast(1.0f), multiply_add(z, broadcast(0.3275911f), broadcast(1.0f)));
    Floats p = broadcast(1.061405429f);
    p = multiply_add(p, t, broadcast(-1.453152027f));
    p = multiply_add(p, t, broadcast(1.421413741f));
    p = multiply_add(p, t, broadcast(-0.284496736f));
    p = multiply_add(p, t, broadcast(0.254829592f));
    const Floats tail = multiply(multiply(p, t), exponential(multiply(multiply(z, z), broadcast(-1.0f))));
    // Φ(|x|) = 1 - tail / 2; x·Φ(x) = max(x, 0) - |x|·tail / 2
    return subtract(maximum(x, zero()), multiply(multiply(absolute(x), tail), broadcast(0.5f)));
}

// x / (1 + e^-x)
ALWAYS_INLINE Floats silu(Floats x) {
    return divide(x, add(broadcast(1.0f), exponential(minimum(multiply(x, broadcast(-1.0f)), broadcast(88.0f)))));
}

ALWAYS_INLINE Floats activate(Floats x, Activation activation) {
    if (activation == Activation::relu) return maximum(x, zero());
    if (activation == Activation::gelu) return gelu(x);
    if (activation == Activation::silu) return silu(x);
    return x;
}

ALWAYS_INLINE void finish(Floats value, const Outputs& out, int row, int column) {
    value = activate(value, out.activation);
    if (out.residual) value = add(value, load(out.residual + row * out.residual_stride + column));
    store(out.floats + row * out.stride + column, value);
}

// ---- matrix products: M rows against one panel, all sums in registers

template <int M>
void int8_tile(const PackedWeights& weights, int panel, const Inputs& x, int row, const Outputs& out) {
    const int inputs = weights.inputs;
    const int8_t* w = weights.ints + size_t(panel) * PANEL * inputs;
    const int8_t* rows = x.ints + row * x.stride;
    // With few rows the sums alone are too few to hide the latency of the instruction: two sets take turns.
    constexpr int SETS = M <= 2 ? 2 : 1;
    Ints sums[SETS][M][PANEL_VECTORS];
    unroll<SETS>([&](auto s) INLINE_LAMBDA {
        unroll<M>([&](auto m) INLINE_LAMBDA {
            unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA { sums[s][m][v] = zero_ints(); });
        });
    });
    for (int k = 0; k < inputs; k += 4 * SETS, w += 4 * SETS * PANEL) {
        if constexpr (M <= 2) {  // reading the weights is all there is to do
            unroll<SETS * PANEL_VECTORS>([&](auto v) INLINE_LAMBDA { prefetch(w + 4096 + v * 4 * LANES); });
        }
        unroll<SETS>([&](auto s) INLINE_LAMBDA {
            IntWeights panel_weights[PANEL_VECTORS];
            unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA {
                panel_weights[v] = load_weights(w + (s * PANEL_VECTORS + v) * 4 * LANES);
            });
            unroll<M>([&](auto m) INLINE_LAMBDA {
                const Ints four = broadcast_four(rows + m * x.stride + k + 4 * s);
                unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA { dot(sums[s][m][v], panel_weights[v], four); });
            });
        });
    }
    unroll<M>([&](auto m) INLINE_LAMBDA {
        const Floats scale = broadcast(x.scales[row + m]);
        const int32_t correction = x.corrections[row + m];
        unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA {
            const int column = panel * PANEL + v * LANES;
            Ints sum = sums[0][m][v];
            if constexpr (SETS == 2) sum = add_ints(sum, sums[SETS - 1][m][v]);
            Ints surplus = broadcast_int(UNSIGNED_INPUTS ? correction : WEIGHT_OFFSET * correction);
            if constexpr (UNSIGNED_INPUTS) surplus = multiply_ints(surplus, load_ints(weights.sums + column));
            const Floats product = to_float(subtract_ints(sum, surplus));
            const Floats unit = multiply(scale, load(weights.scales + column));
            finish(multiply_add(product, unit, load(weights.bias + column)), out, row + m, column);
        });
    });
}

template <int M>
void float_tile(const PackedWeights& weights, int panel, const Inputs& x, int row, const Outputs& out) {
    const float* w = weights.floats + size_t(panel) * PANEL * weights.inputs;
    const float* rows = x.floats + row * x.stride;
    Floats sums[M][PANEL_VECTORS];
    unroll<M>([&](auto m) INLINE_LAMBDA {
        unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA { sums[m][v] = zero(); });
    });
    for (int k = 0; k < weights.inputs; ++k, w += PANEL) {
        Floats panel_weights[PANEL_VECTORS];
        unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA { panel_weights[v] = load(w + v * LANES); });
        unroll<M>([&](auto m) INLINE_LAMBDA {
            const Floats one = broadcast(rows[m * x.stride + k]);
            unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA {
                sums[m][v] = multiply_add(one, panel_weights[v], sums[m][v]);
            });
        });
    }
    unroll<M>([&](auto m) INLINE_LAMBDA {
        unroll<PANEL_VECTORS>([&](auto v) INLINE_LAMBDA {
            const int column = panel * PANEL + v * LANES;
            finish(add(sums[m][v], load(weights.bias + column)), out, row + m, column);
        });
    });
}

// Split `rows` into tiles of at most ROWS, as equal as can be, and call tile(integral_constant M, first row).
template <class Tile>
ALWAYS_INLINE void for_tiles(int rows, Tile&& tile) {
    const int tiles = (rows + ROWS - 1) / ROWS;
    for (int i = 0; i < tiles; ++i) {
        const int first = int(int64_t(rows) * i / tiles), size = int(int64_t(rows) * (i + 1) / tiles) - first;
        unroll<ROWS>([&](auto m) {
            if (size == m + 1) tile(std::integral_constant<int, m + 1>(), first);
        });
    }
}

void multiply_int8(const PackedWeights& weights, int first_panel, int last_panel, const Inputs& x, int rows,
                   const Outputs& out) {
    for (int panel = first_panel; panel < last_panel; ++panel) {
        for_tiles(rows, [&](auto m, int row) { int8_tile<m>(weights, panel, x, row, out); });
    }
}

void multiply_float(const PackedWeights& weights, int first_panel, int last_panel, const Inputs& x, int rows,
                    const Outputs& out) {
    for (int panel = first_panel; panel < last_panel; ++panel) {
        for_tiles(rows, [&](auto m, int row) { float_tile<m>(weights, panel, x, row, out); });
    }
}

template <int M, int V>
void small_tile(const SmallProduct& p, int row, int vector) {
    const float* right = p.right + vector * p.vector_stride;
    const float* left = p.left + row * p.left_stride;
    Floats sums[M][V];
    unroll<M>([&](auto m) INLINE_LAMBDA { unroll<V>([&](auto v) INLINE_LAMBDA { sums[m][v] = zero(); }); });
    for (int k = 0; k < p.inputs; ++k, right += LANES) {
        Floats columns[V];
        unroll<V>([&](auto v) INLINE_LAMBDA { columns[v] = load(right + v * p.vector_stride); });
        unroll<M>([&](auto m) INLINE_LAMBDA {
            const Floats one = broadcast(left[m * p.left_stride + k]);
            unroll<V>([&](auto v) INLINE_LAMBDA { sums[m][v] = multiply_add(one, columns[v], sums[m][v]); });
        });
    }
    const Floats scale = broadcast(p.scale);
    unroll<M>([&](auto m) INLINE_LAMBDA {
        unroll<V>([&](auto v) INLINE_LAMBDA {
            store(p.out + (row + m) * p.out_stride + (vector + v) * LANES, multiply(sums[m][v], scale));
        });
    });
}

void multiply_small(const SmallProduct& p) {
    for_tiles(p.rows, [&](auto m, int row) {
        int vector = 0;
        for (; vector + PANEL_VECTORS <= p.vectors; vector += PANEL_VECTORS) {
            small_tile<m, PANEL_VECTORS>(p, row, vector);
        }
        for (; vector < p.vectors; ++vector) small_tile<m, 1>(p, row, vector);
    });
}

// ---- rows

void quantise(const float* x, int width, int8_t* ints, float* scale, int32_t* correction) {
    if constexpr (UNSIGNED_INPUTS) {
        Floats high = zero(), low = zero();
        for (int k = 0; k < width; k += LANES) {
            high = maximum(high, load(x + k));
            low = minimum(low, load(x + k));
        }
        const float lowest = -largest_of(multiply(low, broadcast(-1.0f)));
        const float range = std::max(largest_of(high) - lowest, 1e-30f);
        const Floats units = broadcast(127.0f / range);
        // rounded as the values are, so that the lowest becomes 0; what lies above 127 by rounding twice, store_bytes cuts
        const int32_t at_zero = int32_t(std::nearbyintf(-lowest * (127.0f / range)));
        for (int k = 0; k < width; k += LANES) {
            store_bytes(ints + k, add_ints(round_to_int(multiply(load(x + k), units)), broadcast_int(at_zero)));
        }
        *scale = range / 127.0f;
        *correction = at_zero;
        return;
    }
    Floats top = zero();
    for (int k = 0; k < width; k += LANES) top = maximum(top, absolute(load(x + k)));
    const float largest = std::max(largest_of(top), 1e-30f);
    const Floats units = broadcast(127.0f / largest);
    Ints total = zero_ints();
    for (int k = 0; k < width; k += LANES) {
        const Ints rounded = round_to_int(multiply(load(x + k), units));
        total = add_ints(total, rounded);
        store_bytes(ints + k, rounded);
    }
    *scale = largest / 127.0f;
    *correction = sum_of_ints(total);
}

void layer_norm(const float* x, int width, int padded, const float* gain, const float* bias, float epsilon,
                float* out) {
    Floats total = zero();
    for (int k = 0; k < padded; k += LANES) total = add(total, load(x + k));
    const float mean = sum_of(total) / float(width);
    const Floats means = broadcast(mean);
    Floats squares = zero();
    for (int k = 0; k < padded; k += LANES) {
        const Floats centred = subtract(load(x + k), means);
        squares = multiply_add(centred, centred, squares);
    }
    // each of the zeros behind the row has added mean²
    const float variance = (sum_of(squares) - float(padded - width) * mean * mean) / float(width);
    const Floats factor = broadcast(1.0f / std::sqrt(std::max(variance, 0.0f) + epsilon));
    for (int k = 0; k < padded; k += LANES) {
        const Floats normal = multiply(subtract(load(x + k), means), factor);
        store(out + k, multiply_add(normal, load(gain + k), load(bias + k)));
    }
}

void rms_norm(const float* x, int width, int padded, const float* gain, float epsilon, float* out) {
    Floats squares = zero();
    for (int k = 0; k < padded; k += LANES) {
        const Floats value = load(x + k);
        squares = multiply_add(value, value, squares);
    }
    const Floats factor = broadcast(1.0f / std::sqrt(sum_of(squares) / float(width) + epsilon));
    for (int k = 0; k < padded; k += LANES) {
        store(out + k, multiply(multiply(load(x + k), factor), load(gain + k)));
    }
}

void softmax(float* x, int count) {
    const int padded = round_up(count, LANES);
    for (int k = count; k < padded; ++k) x[k] = -std::numeric_limits<float>::infinity();
    Floats top = load(x);
    for (int k = LANES; k < padded; k += LANES) top = maximum(top, load(x + k));
    const Floats largest = broadcast(largest_of(top));
    Floats total = zero();
    for (int k = 0; k < padded; k += LANES) {
        store(x + k, exponential(subtract(load(x + k), largest)));
        if (k + LANES > count) {
            for (int i = count; i < padded; ++i) x[i] = 0.0f;
        }
        total = add(total, load(x + k));
    }
    const Floats factor = broadcast(1.0f / sum_of(total));
    for (int k = 0; k < padded; k += LANES) store(x + k, multiply(load(x + k), factor));
}

void gate(float* up, const float* gates, int width) {
    for (int k = 0; k < width; k += LANES) store(up + k, multiply(silu(load(gates + k)), load(up + k)));
}

// ---- attention of one query to a cache

void attend_cached(const CachedAttention& a) {
    int t = 0;
    for (; t + 4 <= a.count; t += 4) {  // four keys share the work of adding up a vector's lanes
        const float* keys[4];
        for (int i = 0; i < 4; ++i) keys[i] = a.steps[t + i] + a.key;
        Floats sums[4] = {zero(), zero(), zero(), zero()};
        for (int k = 0; k < a.key_width; k += LANES) {
            const Floats query = load(a.query + k);
            unroll<4>([&](auto i) INLINE_LAMBDA { sums[i] = multiply_add(query, load(keys[i] + k), sums[i]); });
        }
        sums_of_four(sums, a.weights + t);
    }
    for (; t < a.count; ++t) {
        Floats sum = zero();
        for (int k = 0; k < a.key_width; k += LANES) {
            sum = multiply_add(load(a.query + k), load(a.steps[t] + a.key + k), sum);
        }
        a.weights[t] = sum_of(sum);
    }
    for (t = 0; t < a.count; ++t) a.weights[t] *= a.scale;
    softmax(a.weights, a.count);
    for (int k = 0; k < a.value_width; k += LANES) store(a.out + k, zero());
    int k = 0;
    for (; k + 4 * LANES <= a.value_width; k += 4 * LANES) {
        Floats sums[4] = {zero(), zero(), zero(), zero()};
        for (t = 0; t < a.count; ++t) {
            const float* value = a.steps[t] + a.value + k;
            const Floats weight = broadcast(a.weights[t]);
            unroll<4>([&](auto i) INLINE_LAMBDA { sums[i] = multiply_add(weight, load(value + i * LANES), sums[i]); });
        }
        unroll<4>([&](auto i) INLINE_LAMBDA { store(a.out + k + i * LANES, sums[i]); });
    }
    for (; k < a.value_width; k += LANES) {
        Floats sum = zero();
        for (t = 0; t < a.count; ++t) {
            sum = multiply_add(broadcast(a.weights[t]), load(a.steps[t] + a.value + k), sum);
        }
        store(a.out + k, sum);
    }
}

// ---- the vocabulary

void scan_normaliser(Scan& scan, const float* logits, int count) {
    const int whole = count / LANES * LANES;
    float top = scan.maximum;
    if (whole) {
        Floats tops = load(logits);
        for (int k = LANES; k < whole; k += LANES) tops = maximum(tops, load(logits + k));
        top = std::max(top, largest_of(tops));
    }
    for (int k = whole; k < count; ++k) top = std::max(top, logits[k]);
    const Floats shift = broadcast(top);
    Floats sums = zero();
    for (int k = 0; k < whole; k += LANES) sums = add(sums, exponential(subtract(load(logits + k), shift)));
    float sum = sum_of(sums);
    for (int k = whole; k < count; ++k) sum += std::exp(logits[k] - top);
    scan.sum = scan.sum * std::exp(scan.maximum - top) + sum;  // the first maximum is -inf, and e^-inf is 0
    scan.maximum = top;
}

// Put a piece into the list of the best where it belongs.
inline void consider(Scan& scan, float logit, int piece) {
    int place = scan.found < scan.count ? scan.found++ : scan.count - 1;
    for (; place > 0 && scan.logits[place - 1] < logit; --place) {
        scan.logits[place] = scan.logits[place - 1];
        scan.pieces[place] = scan.pieces[place - 1];
    }
    scan.logits[place] = logit;
    scan.pieces[place] = piece;
}

void scan_best(Scan& scan, const float* logits, int count, int first) {
    constexpr int STRIDE = 4 * LANES;  // nearly always nothing among these is good enough
    float bar = scan.found < scan.count ? -std::numeric_limits<float>::infinity() : scan.logits[scan.count - 1];
    auto look = [&](int from, int to) {
        for (int k = from; k < to; ++k) {
            if (logits[k] > bar) {
                consider(scan, logits[k], first + k);
                if (scan.found == scan.count) bar = scan.logits[scan.count - 1];
            }
        }
    };
    int k = 0;
    for (; k + STRIDE <= count; k += STRIDE) {
        const Floats low = maximum(load(logits + k), load(logits + k + LANES));
        const Floats high = maximum(load(logits + k + 2 * LANES), load(logits + k + 3 * LANES));
        if (!any_greater(maximum(low, high), broadcast(bar))) continue;
        for (int part = k; part < k + STRIDE; part += LANES) {
            if (any_greater(load(logits + part), broadcast(bar))) look(part, part + LANES);
        }
    }
    look(k, count);
}

constexpr Kernels table(const char* name) {
    return {name,          LANES,          PANEL,          WEIGHT_OFFSET, UNSIGNED_INPUTS,
            multiply_int8, multiply_float, multiply_small, quantise,      layer_norm,      rms_norm,
            softmax,       gate,           attend_cached,  scan_normaliser, scan_best};
}
