// What runs along rows: layer normalisation, and the softmax of the cross-entropy. Included where `Stored` is the type of
// the tensors, after vectors.h.

inline float sum(Floats x) { return _mm512_reduce_add_ps(x); }

inline void layer_norm_forward(int64_t rows, int64_t width, float epsilon, const Stored* x, const Stored* weight,
                               const Stored* bias, Stored* y, float* statistics) {
    for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
        Floats total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) total = _mm512_add_ps(total, load(x + c));
        const float mean = sum(total) / float(width);
        for (int64_t c = 0; c < width; c += LANES) {  // the row is in the cache
            const Floats d = _mm512_sub_ps(load(x + c), _mm512_set1_ps(mean));
            squares = _mm512_fmadd_ps(d, d, squares);
        }
        const float scale = 1 / std::sqrt(sum(squares) / float(width) + epsilon);
        for (int64_t c = 0; c < width; c += LANES) {
            const Floats normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c), _mm512_set1_ps(mean)), _mm512_set1_ps(scale));
            store(y + c, _mm512_fmadd_ps(normal, load(weight + c), load(bias + c)));
        }
        statistics[2 * r] = mean;
        statistics[2 * r + 1] = scale;
    }
}

inline void layer_norm_backward(int64_t rows, int64_t width, const Stored* x, const Stored* weight,
                                const float* statistics, const Stored* y_gradient, Stored* x_gradient,
                                float* weight_gradient, float* bias_gradient) {
    std::fill(weight_gradient, weight_gradient + width, 0.0f);
    std::fill(bias_gradient, bias_gradient + width, 0.0f);
    for (int64_t r = 0; r < rows; ++r, x += width, y_gradient += width, x_gradient += width) {
        const Floats mean = _mm512_set1_ps(statistics[2 * r]), scale = _mm512_set1_ps(statistics[2 * r + 1]);
        Floats first = _mm512_setzero_ps(), second = _mm512_setzero_ps();
        for (int64_t c = 0; c < width; c += LANES) {
            const Floats g = load(y_gradient + c), normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c), mean), scale);
            const Floats weighted = _mm512_mul_ps(g, load(weight + c));
            first = _mm512_add_ps(first, weighted);
            second = _mm512_fmadd_ps(weighted, normal, second);
            _mm512_storeu_ps(weight_gradient + c, _mm512_fmadd_ps(g, normal, _mm512_loadu_ps(weight_gradient + c)));
            _mm512_storeu_ps(bias_gradient + c, _mm512_add_ps(g, _mm512_loadu_ps(bias_gradient + c)));
        }
        const Floats along_mean = _mm512_set1_ps(sum(first) / float(width));
        const Floats along_normal = _mm512_set1_ps(sum(second) / float(width));
        for (int64_t c = 0; c < width; c += LANES) {
            const Floats normal = _mm512_mul_ps(_mm512_sub_ps(load(x + c), mean), scale);
            const Floats weighted = _mm512_mul_ps(load(y_gradient + c), load(weight + c));
            const Floats rest = _mm512_sub_ps(_mm512_sub_ps(weighted, along_mean), _mm512_mul_ps(normal, along_normal));
            store(x_gradient + c, _mm512_mul_ps(rest, scale));
        }
    }
}

inline double cross_entropy_gradient(int64_t rows, int64_t width, float smoothing, const int64_t* targets,
                                     Stored* logits) {
    thread_local std::vector<float> row;
    row.resize(width + LANES);
    float* exponentials = row.data();
    double total = 0;
    for (int64_t r = 0; r < rows; ++r, logits += width) {
        const float target = to_float(logits[targets[r]]);
        const int64_t whole = width / LANES * LANES;
        Floats largest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
        for (int64_t c = 0; c < whole; c += LANES) largest = _mm512_max_ps(largest, load(logits + c));
        float maximum = _mm512_reduce_max_ps(largest);
        for (int64_t c = whole; c < width; ++c) maximum = std::max(maximum, to_float(logits[c]));
        const Floats shift = _mm512_set1_ps(maximum);
        Floats sums = _mm512_setzero_ps();
        for (int64_t c = 0; c < whole; c += LANES) {
            const Floats e = exponential(_mm512_sub_ps(load(logits + c), shift));
            _mm512_storeu_ps(exponentials + c, e);
            sums = _mm512_add_ps(sums, e);
        }
        float all = sum(sums);
        for (int64_t c = whole; c < width; ++c) all += exponentials[c] = std::exp(to_float(logits[c]) - maximum);
        const Floats factor = _mm512_set1_ps(1 / all);
        for (int64_t c = 0; c < whole; c += LANES) {
            store(logits + c, _mm512_mul_ps(_mm512_loadu_ps(exponentials + c), factor));
        }
        if (whole < width) {
            Stored tail[LANES];
            store(tail, _mm512_mul_ps(_mm512_loadu_ps(exponentials + whole), factor));
            std::memcpy(logits + whole, tail, (width - whole) * sizeof *logits);
        }
        const float probability = exponentials[targets[r]] / all - (1 - smoothing);
        Stored at_target[LANES];
        store(at_target, _mm512_set1_ps(probability));
        logits[targets[r]] = at_target[0];
        total += double(maximum) + std::log(double(all)) - double(1 - smoothing) * double(target);
    }
    return total;
}
