// The functions of training.h for Python: pointers are the numbers that Tensor.data_ptr() gives, and the caller has
// checked types, shapes and widths. Other threads run meanwhile.

#include <pybind11/pybind11.h>

#include "training.h"

namespace py = pybind11;
using regard::Allowed;
using regard::AttentionSizes;
using regard::bfloat16;
using regard::Heads;

namespace {

#if defined(__x86_64__)

Heads heads(const py::tuple& t) {
    return {reinterpret_cast<bfloat16*>(t[0].cast<uintptr_t>()), t[1].cast<ptrdiff_t>(), t[2].cast<ptrdiff_t>(),
            t[3].cast<ptrdiff_t>()};
}

Allowed allowed(const py::tuple& t) {
    return {reinterpret_cast<const uint8_t*>(t[0].cast<uintptr_t>()), t[1].cast<ptrdiff_t>(), t[2].cast<ptrdiff_t>()};
}

AttentionSizes sizes(const py::tuple& t) {
    return {t[0].cast<int64_t>(), t[1].cast<int64_t>(), t[2].cast<int64_t>(), t[3].cast<int64_t>(),
            t[4].cast<int64_t>(), t[5].cast<int64_t>(), t[6].cast<float>()};
}

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

#endif

bool supported() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "Training kernels in bfloat16 for AVX-512; see training.h.";
    m.def("supported", &supported, "Whether this processor has the instructions that the other functions need.");
#if defined(__x86_64__)
    m.def("attention_forward", [](const py::tuple& size, const py::tuple& query, const py::tuple& key,
                                  const py::tuple& value, const py::tuple& mask, const py::tuple& output) {
        const auto s = sizes(size);
        const auto q = heads(query), k = heads(key), v = heads(value), o = heads(output);
        const auto a = allowed(mask);
        py::gil_scoped_release release;
        regard::attention_forward(s, q, k, v, a, o);
    });
    m.def("attention_backward",
          [](const py::tuple& size, const py::tuple& query, const py::tuple& key, const py::tuple& value,
             const py::tuple& mask, const py::tuple& output_gradient, const py::tuple& query_gradient,
             const py::tuple& key_gradient, const py::tuple& value_gradient) {
              const auto s = sizes(size);
              const auto q = heads(query), k = heads(key), v = heads(value), g = heads(output_gradient);
              const auto dq = heads(query_gradient), dk = heads(key_gradient), dv = heads(value_gradient);
              const auto a = allowed(mask);
              py::gil_scoped_release release;
              regard::attention_backward(s, q, k, v, a, g, dq, dk, dv);
          });
    m.def("layer_norm_forward", [](int64_t rows, int64_t width, float epsilon, uintptr_t x, uintptr_t weight,
                                   uintptr_t bias, uintptr_t y, uintptr_t statistics) {
        py::gil_scoped_release release;
        regard::layer_norm_forward(rows, width, epsilon, pointer<bfloat16>(x), pointer<bfloat16>(weight),
                                   pointer<bfloat16>(bias), pointer<bfloat16>(y), pointer<float>(statistics));
    });
    m.def("layer_norm_backward",
          [](int64_t rows, int64_t width, uintptr_t x, uintptr_t weight, uintptr_t statistics, uintptr_t y_gradient,
             uintptr_t x_gradient, uintptr_t weight_gradient, uintptr_t bias_gradient) {
              py::gil_scoped_release release;
              regard::layer_norm_backward(rows, width, pointer<bfloat16>(x), pointer<bfloat16>(weight),
                                          pointer<float>(statistics), pointer<bfloat16>(y_gradient),
                                          pointer<bfloat16>(x_gradient), pointer<float>(weight_gradient),
                                          pointer<float>(bias_gradient));
          });
    m.def("cross_entropy_gradient",
          [](int64_t rows, int64_t width, float smoothing, uintptr_t targets, uintptr_t logits) {
              py::gil_scoped_release release;
              return regard::cross_entropy_gradient(rows, width, smoothing, pointer<int64_t>(targets),
                                                    pointer<bfloat16>(logits));
          });
#endif
}
