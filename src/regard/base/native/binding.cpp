// The functions of training.h for Python: pointers are the numbers that Tensor.data_ptr() gives, and the caller has
// checked types, shapes and widths. Other threads run meanwhile.

#include <pybind11/pybind11.h>

#include <cstdlib>
#include <string>
#include <type_traits>

#include "training.h"

namespace py = pybind11;
using namespace regard;

namespace {

bool supported() {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
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

template <class Stored>
Heads<Stored> heads(const py::tuple& t) {
    return {pointer<Stored>(t[0]), t[1].cast<ptrdiff_t>(), t[2].cast<ptrdiff_t>(), t[3].cast<ptrdiff_t>()};
}

Allowed allowed(const py::tuple& t) {
    return {pointer<const int32_t>(t[0]), pointer<const int32_t>(t[1]), t[2].cast<ptrdiff_t>(),
            pointer<const uint8_t>(t[3]), t[4].cast<ptrdiff_t>()};
}

AttentionSizes sizes(const py::tuple& t) {
    return {t[0].cast<int64_t>(), t[1].cast<int64_t>(), t[2].cast<int64_t>(), t[3].cast<int64_t>(), t[4].cast<int64_t>(),
            t[5].cast<int64_t>(), t[6].cast<int64_t>(), t[7].cast<float>(),   t[8].cast<int>()};
}

template <class Stored>
void define(py::module_& m, const std::string& type, const TrainingKernels<Stored>& kernels) {
    m.def(("attention_forward_" + type).c_str(),
          [&kernels](const py::tuple& size, const py::tuple& query, const py::tuple& key, const py::tuple& value,
                     const py::tuple& mask, uintptr_t added, const py::tuple& output, uintptr_t statistics) {
              const auto s = sizes(size);
              const auto q = heads<Stored>(query), k = heads<Stored>(key), v = heads<Stored>(value);
              const auto o = heads<Stored>(output);
              const auto a = allowed(mask);
              py::gil_scoped_release release;
              kernels.attention_forward(s, q, k, v, a, pointer<const float>(added), o, pointer<float>(statistics));
          });
    m.def(("attention_backward_" + type).c_str(),
          [&kernels](const py::tuple& size, const py::tuple& query, const py::tuple& key, const py::tuple& value,
                     const py::tuple& mask, uintptr_t added, const py::tuple& output, uintptr_t statistics,
                     const py::tuple& output_gradient, const py::tuple& query_gradient, const py::tuple& key_gradient,
                     const py::tuple& value_gradient, uintptr_t added_gradient) {
              const auto s = sizes(size);
              const auto q = heads<Stored>(query), k = heads<Stored>(key), v = heads<Stored>(value);
              const auto o = heads<Stored>(output), g = heads<Stored>(output_gradient);
              const auto dq = heads<Stored>(query_gradient), dk = heads<Stored>(key_gradient);
              const auto dv = heads<Stored>(value_gradient);
              const auto a = allowed(mask);
              py::gil_scoped_release release;
              kernels.attention_backward(s, q, k, v, a, pointer<const float>(added), o,
                                         pointer<const float>(statistics), g, dq, dk, dv,
                                         pointer<float>(added_gradient));
          });
    if constexpr (std::is_same_v<Stored, bfloat16>) {  // on floats PyTorch's own is as fast
        m.def(("layer_norm_forward_" + type).c_str(),
              [&kernels](int64_t rows, int64_t width, float epsilon, uintptr_t x, uintptr_t weight, uintptr_t bias,
                         uintptr_t y, uintptr_t statistics) {
                  py::gil_scoped_release release;
                  kernels.layer_norm_forward(rows, width, epsilon, pointer<Stored>(x), pointer<Stored>(weight),
                                             pointer<Stored>(bias), pointer<Stored>(y), pointer<float>(statistics));
              });
        m.def(("layer_norm_backward_" + type).c_str(),
              [&kernels](int64_t rows, int64_t width, uintptr_t x, uintptr_t weight, uintptr_t statistics,
                         uintptr_t y_gradient, uintptr_t x_gradient, uintptr_t weight_gradient, uintptr_t bias_gradient) {
                  py::gil_scoped_release release;
                  kernels.layer_norm_backward(rows, width, pointer<Stored>(x), pointer<Stored>(weight),
                                              pointer<float>(statistics), pointer<Stored>(y_gradient),
                                              pointer<Stored>(x_gradient), pointer<float>(weight_gradient),
                                              pointer<float>(bias_gradient));
              });
    }
    m.def(("cross_entropy_gradient_" + type).c_str(),
          [&kernels](int64_t rows, int64_t width, float smoothing, uintptr_t targets, uintptr_t logits) {
              py::gil_scoped_release release;
              return kernels.cross_entropy_gradient(rows, width, smoothing, pointer<int64_t>(targets),
                                                    pointer<Stored>(logits));
          });
}

#endif

}  // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "Training kernels for AVX-512; see training.h.";
    m.def("supported", &supported, "Whether this processor can run the functions.");
#if defined(__x86_64__)
    define(m, "float32", float_kernels());
    // REGARD_BF16=widened takes the way of processors without AVX-512 BF16, so that it is tested on every machine.
    const char* wanted = std::getenv("REGARD_BF16");
    const bool hardware = __builtin_cpu_supports("avx512bf16") && !(wanted && std::string(wanted) == "widened");
    define(m, "bfloat16", hardware ? bfloat16_kernels() : widened_kernels());
#endif
}
