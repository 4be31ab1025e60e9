// The module regard.decode._native: the engine for Python, and the parts of it that are tested alone.
//
// regard/decode/native_engine.py is its only user; it checks what a person may get wrong, and turns what comes out into
// the classes of regard/decode/request.py.

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "engine.h"

namespace py = pybind11;
using namespace regard;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ints = py::array_t<int8_t, py::array::c_style>;

// A matrix from Python: an array of floats, or a pair of int8 and one scale a row. Keeps the arrays alive.
struct PythonMatrix {
    Floats floats, scales;
    Ints ints;
    Weights weights;

    explicit PythonMatrix(const py::object& value) {
        const bool pair = py::isinstance<py::tuple>(value);
        if (pair) {
            ints = Ints::ensure(value[py::int_(0)]);
            scales = Floats::ensure(value[py::int_(1)]);
        } else {
            floats = Floats::ensure(value);
        }
        const py::array& table = pair ? static_cast<const py::array&>(ints) : floats;
        if (PyErr_Occurred()) throw py::error_already_set();
        if (!table || table.ndim() != 2 || (pair && (!scales || scales.ndim() != 1 || scales.shape(0) != table.shape(0)))) {
            throw std::invalid_argument("a matrix is a two-dimensional array, or one of int8 with a scale a row.");
        }
        weights.rows = int(table.shape(0));
        weights.columns = int(table.shape(1));
        if (pair) {
            weights.ints = ints.data();
            weights.scales = scales.data();
        } else {
            weights.floats = floats.data();
        }
    }
};

class PythonSource : public Source {
  public:
    explicit PythonSource(py::dict values) : values_(std::move(values)) {}
    bool has(const std::string& name) const override { return values_.contains(name); }
    Weights matrix(const std::string& name) const override {
        kept_.emplace_back(get(name));
        return kept_.back().weights;
    }
    std::vector<float> vector(const std::string& name) const override { return get(name).cast<std::vector<float>>(); }

  private:
    py::object get(const std::string& name) const {
        if (!has(name)) throw std::invalid_argument("the weight '" + name + "' is missing.");
        return values_[py::str(name)];
    }
    py::dict values_;
    mutable std::list<PythonMatrix> kept_;
};

template <class T>
T choice(const py::dict& values, const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
    const std::string value = values[name].cast<std::string>();
    for (auto& [word, meaning] : choices) {
        if (value == word) return meaning;
    }
    throw std::invalid_argument(std::string(name) + " '" + value + "' is not known to the native engine.");
}

Shape read_shape(const py::dict& values) {
    auto number = [&](const char* name) { return values[name].cast<int>(); };
    Shape shape;
    shape.d_model = number("d_model");
    shape.num_heads = number("num_heads");
    shape.head_width = number("head_width");
    shape.key_width = number("key_width");
    shape.value_width = number("value_width");
    shape.encoder_layers = number("encoder_layers");
    shape.decoder_layers = number("decoder_layers");
    shape.norm = choice<NormKind>(values, "norm", {{"layernorm", NormKind::layer}, {"rmsnorm", NormKind::rms}});
    shape.pre_norm = choice<bool>(values, "norm_position", {{"pre", true}, {"post", false}});
    shape.position = choice<PositionKind>(values, "position",
                                          {{"none", PositionKind::none},
                                           {"sinusoidal", PositionKind::sinusoidal},
                                           {"learned", PositionKind::learned},
                                           {"rotary", PositionKind::rotary}});
    shape.feed_forward = choice<FeedForwardKind>(values, "activation",
                                                 {{"relu", FeedForwardKind::relu},
                                                  {"gelu", FeedForwardKind::gelu},
                                                  {"silu", FeedForwardKind::silu},
                                                  {"swiglu", FeedForwardKind::swiglu}});
    shape.embedding_scale = values["embedding_scale"].cast<float>();
    shape.bos = number("bos_id");
    shape.eos = number("eos_id");
    shape.int8 = values["int8"].cast<bool>();
    return shape;
}

// From regard.decode.Request.
Request read_request(const py::handle& value) {
    Request request;
    request.source = value.attr("source").cast<std::vector<int>>();
    request.prefix = value.attr("prefix").cast<std::vector<int>>();
    if (const py::object pieces = value.attr("vocabulary"); !pieces.is_none()) {
        request.vocabulary = pieces.cast<std::vector<int>>();
    }
    const py::object options = value.attr("options");
    Options& o = request.options;
    o.beam = options.attr("beam").cast<int>();
    o.num_hypotheses = options.attr("num_hypotheses").cast<int>();
    o.length_penalty = options.attr("length_penalty").cast<double>();
    o.coverage_penalty = options.attr("coverage_penalty").cast<double>();
    o.sample = options.attr("sample").cast<bool>();
    o.temperature = options.attr("temperature").cast<double>();
    o.top_k = options.attr("top_k").cast<int>();
    o.top_p = options.attr("top_p").cast<double>();
    o.seed = uint64_t(PyLong_AsUnsignedLongLongMask(py::int_(options.attr("seed")).ptr()));
    o.min_length = options.attr("min_length").cast<int>();
    o.max_length = options.attr("limit")(request.source.size()).cast<int>();
    o.no_repeat_ngram = options.attr("no_repeat_ngram").cast<int>();
    o.banned = options.attr("banned").cast<std::vector<std::vector<int>>>();
    o.required = options.attr("required").cast<std::vector<std::vector<int>>>();
    o.alignment = options.attr("alignment").cast<bool>();
    return request;
}

py::tuple write(const Hypothesis& hypothesis) {
    py::object attention = py::none();
    if (hypothesis.attended) {
        attention = py::array_t<float>({hypothesis.ids.size(), size_t(hypothesis.attended)}, hypothesis.attention.data());
    }
    return py::make_tuple(hypothesis.ids, hypothesis.score, hypothesis.log_probs, hypothesis.finished, attention);
}

py::list write(const std::vector<Hypothesis>& hypotheses) {
    py::list list;
    for (const Hypothesis& hypothesis : hypotheses) list.append(write(hypothesis));
    return list;
}

// Let Ctrl-C end a long call.
void check_signals() {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

std::shared_ptr<Model> make_model(const py::dict& shape, const py::dict& weights) {
    return std::make_shared<Model>(read_shape(shape), choose_kernels(), PythonSource(weights));
}

std::unique_ptr<Engine> make_engine(std::shared_ptr<Model> model, std::shared_ptr<Shortlist> shortlist, int threads,
                                    int max_tokens, std::vector<int> never) {
    if (threads < 1 || max_tokens < 1) throw std::invalid_argument("threads and max_tokens must be at least 1.");
    return std::make_unique<Engine>(std::move(model), std::move(shortlist), threads, max_tokens, std::move(never),
                                    check_signals);
}

std::shared_ptr<Shortlist> make_shortlist(std::vector<int> tables,
                                          const py::array_t<int64_t, py::array::c_style>& offsets,
                                          const py::array_t<int32_t, py::array::c_style>& pieces, int sources,
                                          int targets) {
    const std::vector<int64_t> begins(offsets.data(), offsets.data() + offsets.size());
    const std::vector<int32_t> values(pieces.data(), pieces.data() + pieces.size());
    return std::make_shared<Shortlist>(std::move(tables), begins, values, sources, targets);
}

py::list step(Engine& engine, bool partial) {
    std::vector<Result> results;
    {
        py::gil_scoped_release release;
        results = engine.step(partial);
    }
    py::list list;
    for (const Result& result : results) {
        list.append(py::make_tuple(result.number, write(result.hypotheses), result.finished));
    }
    return list;
}

py::list translate(Engine& engine, const py::iterable& values) {
    std::vector<Request> requests;
    for (const py::handle& value : values) requests.push_back(read_request(value));
    std::vector<std::vector<Hypothesis>> found;
    {
        py::gil_scoped_release release;
        found = engine.translate(std::move(requests));
    }
    py::list list;
    for (const auto& hypotheses : found) list.append(write(hypotheses));
    return list;
}

py::tuple quantise(const Floats& x) {
    const Kernels& kernels = choose_kernels();
    if (x.ndim() != 1) throw std::invalid_argument("x is not a row.");
    const int width = int(x.shape(0)), padded = round_up(width, ALIGN);
    Buffer<float> row(padded);
    row.clear_to_zero();
    std::copy_n(x.data(), width, row.data());
    Buffer<int8_t> ints(padded);
    float scale;
    int32_t correction;
    kernels.quantise(row.data(), padded, ints.data(), &scale, &correction);
    py::array_t<int8_t> result(width);
    std::copy_n(ints.data(), width, result.mutable_data());
    return py::make_tuple(result, scale, kernels.unsigned_inputs ? correction : 0);
}

// x·Wᵀ + bias as the engine computes it, on one thread.
py::array_t<float> multiply(const Matrix& matrix, const Floats& x, const std::string& activation) {
    const Kernels& kernels = choose_kernels();
    if (x.ndim() != 2 || x.shape(1) != matrix.columns()) throw std::invalid_argument("x does not fit the matrix.");
    const int rows = int(x.shape(0)), stride = round_up(matrix.columns(), ALIGN), outputs = matrix.packed().outputs;
    Buffer<float> padded(size_t(rows) * stride), out(size_t(rows) * outputs), scales(rows);
    Buffer<int8_t> ints(size_t(rows) * stride);
    Buffer<int32_t> corrections(rows);
    padded.clear_to_zero();
    for (int row = 0; row < rows; ++row) {
        float* to = padded.data() + size_t(row) * stride;
        std::copy_n(x.data(row, 0), matrix.columns(), to);
        kernels.quantise(to, stride, ints.data() + size_t(row) * stride, &scales[row],
                         &corrections[row]);
    }
    const Inputs inputs{padded.data(), stride, ints.data(), scales.data(), corrections.data()};
    Outputs outs{out.data(), outputs};
    if (activation == "relu") outs.activation = Activation::relu;
    if (activation == "gelu") outs.activation = Activation::gelu;
    if (activation == "silu") outs.activation = Activation::silu;
    (matrix.packed().ints ? kernels.multiply_int8 : kernels.multiply_float)(matrix.packed(), 0, matrix.panels(), inputs,
                                                                           rows, outs);
    py::array_t<float> result({rows, matrix.rows()});
    for (int row = 0; row < rows; ++row) {
        std::copy_n(out.data() + size_t(row) * outputs, matrix.rows(), result.mutable_data(row, 0));
    }
    return result;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Search over an encoder-decoder Transformer on the CPU; see regard/decode/native_engine.py.";
    module.def("instruction_set", [] { return std::string(choose_kernels().name); },
               "What the engine runs on here, or what REGARD_ISA names.");
    module.def("quantise", &quantise, "A row of inputs as ints, what one unit of them is worth, and which stands for zero.");

    py::class_<Model, std::shared_ptr<Model>>(module, "Model", "Packed weights, shared by the engines on them.")
        .def(py::init(&make_model), py::arg("shape"), py::arg("weights"));

    py::class_<Shortlist, std::shared_ptr<Shortlist>>(module, "Shortlist", "See shortlist.h.")
        .def(py::init(&make_shortlist), py::arg("tables"), py::arg("offsets"), py::arg("pieces"), py::arg("sources"),
             py::arg("targets"))
        .def("pieces", &Shortlist::pieces, py::arg("source"));

    py::class_<Engine>(module, "Engine")
        .def(py::init(&make_engine), py::arg("model"), py::arg("shortlist").none(true), py::arg("threads"),
             py::arg("max_tokens"), py::arg("never"))
        .def("add", [](Engine& engine, const py::object& request) { return engine.add(read_request(request)); })
        .def("cancel", &Engine::cancel, py::call_guard<py::gil_scoped_release>())
        .def_property_readonly("busy",
                               [](Engine& engine) {
                                   py::gil_scoped_release release;
                                   return engine.busy();
                               })
        .def("step", &step, py::arg("partial") = false)
        .def("translate", &translate);

    py::class_<Matrix>(module, "Matrix", "A packed matrix by itself, for tests and benchmarks.")
        .def(py::init([](const py::object& weights, const std::vector<float>& bias, bool int8) {
                 const PythonMatrix matrix(weights);
                 if (int(bias.size()) != matrix.weights.rows) throw std::invalid_argument("bias has a wrong size.");
                 return Matrix(choose_kernels(), matrix.weights, bias.data(), int8);
             }),
             py::arg("weights"), py::arg("bias"), py::arg("int8"))
        .def("multiply", &multiply, py::arg("x"), py::arg("activation") = "none")
        .def("row", [](const Matrix& matrix, int row) {
            py::array_t<float> out(matrix.columns());
            matrix.unpack_row(row, out.mutable_data());
            return out;
        });
}
