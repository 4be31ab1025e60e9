// The two functions of training.h, for `Number`.

template <>
void attention_forward(const AttentionSizes& size, Heads<Number> query, Heads<Number> key, Heads<Number> value,
                       Allowed allowed, const float* added, Heads<Number> output, float* statistics) {
    share(size.batch * size.groups, size.threads, [&](int64_t i) {
        forward_group(size, i / size.groups, i % size.groups, query, key, value, allowed, added, output, statistics);
    });
}

template <>
void attention_backward(const AttentionSizes& size, Heads<Number> query, Heads<Number> key, Heads<Number> value,
                        Allowed allowed, const float* added, Heads<Number> output, const float* statistics,
                        Heads<Number> output_gradient, Heads<Number> query_gradient, Heads<Number> key_gradient,
                        Heads<Number> value_gradient, float* added_gradient) {
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
