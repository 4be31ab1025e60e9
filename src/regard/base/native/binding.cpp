// The functions of training.h for Python: pointers are the numbers that Tensor.data_ptr() gives, and the caller has
// checked types, shapes and widths. Other threads run meanwhile.

#include <pybind11/pybind11.h>

#include <string>

#include "training.h"

namespace py = pybind11;
using namespace regard;

namespace {

// Whether this processor has what the functions need: those on floats, and those on bfloat16.
bool supports_float32() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

bool supports_bfloat16() {
#if defined(__x86_64__)
    return supports_float32() && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

#if defined(__x86_64__)

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

template <class T>
T* pointer(const py::handle& address) {
    return pointer<T>(address.cast<uintptr_t>());
}

template <class Number>
Heads<Number> heads(const py::tuple& t) {
    return {pointer<Number>(t[0]), t[1].cast<ptrdiff_t>(), t[2].cast<ptrdiff_t>(), t[3].cast<ptrdiff_t>()};
}

Allowed allowed(const py::tuple& t) {
    return {pointer<const int32_t>(t[0]), pointer<const int32_t>(t[1]), t[2].cast<ptrdiff_t>(),
            pointer<const uint8_t>(t[3]), t[4].cast<ptrdiff_t>()};
}

AttentionSizes sizes(const py::tuple& t) {
    return {t[0].cast<int64_t>(), t[1].cast<int64_t>(), t[2].cast<int64_t>(), t[3].cast<int64_t>(), t[4].cast<int64_t>(),
            t[5].cast<int64_t>(), t[6].cast<int64_t>(), t[7].cast<float>(),   t[8].cast<int>()};
}

template <class Number>
void define_attention(py::module_& m, const std::string& type) {
    m.def(("attention_forward_" + type).c_str(),
          [](const py::tuple& size, const py::tuple& query, const py::tuple& key, const py::tuple& value,
             const py::tuple& mask, uintptr_t added, const py::tuple& output, uintptr_t statistics) {
              const auto s = sizes(size);
              const auto q = heads<Number>(query), k = heads<Number>(key), v = heads<Number>(value);
              const auto o = heads<Number>(output);
              const auto a = allowed(mask);
              py::gil_scoped_release release;
              attention_forward<Number>(s, q, k, v, a, pointer<const float>(added), o, pointer<float>(statistics));
          });
    m.def(("attention_backward_" + type).c_str(),
          [](const py::tuple& size, const py::tuple& query, const py::tuple& key, const py::tuple& value,
             const py::tuple& mask, uintptr_t added, const py::tuple& output, uintptr_t statistics,
             const py::tuple& output_gradient, const py::tuple& query_gradient, const py::tuple& key_gradient,
             const py::tuple& value_gradient, uintptr_t added_gradient) {
              const auto s = sizes(size);
              const auto q = heads<Number>(query), k = heads<Number>(key), v = heads<Number>(value);
              const auto o = heads<Number>(output), g = heads<Number>(output_gradient);
              const auto dq = heads<Number>(query_gradient), dk = heads<Number>(key_gradient);
              const auto dv = heads<Number>(value_gradient);
              const auto a = allowed(mask);
              py::gil_scoped_release release;
              attention_backward<Number>(s, q, k, v, a, pointer<const float>(added), o, pointer<const float>(statistics),
                                         g, dq, dk, dv, pointer<float>(added_gradient));
          });
}

#endif

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "Training kernels for AVX-512; see training.h.";
    m.def("supports_float32", &supports_float32, "Whether this processor can run the functions on float32.");
    m.def("supports_bfloat16", &supports_bfloat16, "Whether this processor can run the functions on bfloat16.");
#if defined(__x86_64__)
    define_attention<float>(m, "float32");
    define_attention<bfloat16>(m, "bfloat16");
    m.def("layer_norm_forward", [](int64_t rows, int64_t width, float epsilon, uintptr_t x, uintptr_t weight,
                                   uintptr_t bias, uintptr_t y, uintptr_t statistics) {
        py::gil_scoped_release release;
        layer_norm_forward(rows, width, epsilon, pointer<bfloat16>(x), pointer<bfloat16>(weight),
                           pointer<bfloat16>(bias), pointer<bfloat16>(y), pointer<float>(statistics));
    });
    m.def("layer_norm_backward",
          [](int64_t rows, int64_t width, uintptr_t x, uintptr_t weight, uintptr_t statistics, uintptr_t y_gradient,
             uintptr_t x_gradient, uintptr_t weight_gradient, uintptr_t bias_gradient) {
              py::gil_scoped_release release;
              layer_norm_backward(rows, width, pointer<bfloat16>(x), pointer<bfloat16>(weight),
                                  pointer<float>(statistics), pointer<bfloat16>(y_gradient),
                                  pointer<bfloat16>(x_gradient), pointer<float>(weight_gradient),
                                  pointer<float>(bias_gradient));
          });
    m.def("cross_entropy_gradient",
          [](int64_t rows, int64_t width, float smoothing, uintptr_t targets, uintptr_t logits) {
              py::gil_scoped_release release;
              return cross_entropy_gradient(rows, width, smoothing, pointer<int64_t>(targets), pointer<bfloat16>(logits));
          });
#endif
}
