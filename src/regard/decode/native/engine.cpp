#include "engine.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>

namespace regard {
namespace {

// Rows that are encoded together.
constexpr int ENCODER_ROWS = 1024;

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, std::shared_ptr<const Shortlist> shortlist, int threads,
               int max_tokens, std::vector<int> never, std::function<void()> poll)
    : network_(std::make_unique<Network>(std::move(model), threads)),
      shortlist_(std::move(shortlist)),
      team_(threads),
      max_tokens_(max_tokens),
      never_([&] {
          std::sort(never.begin(), never.end());
          return std::move(never);
      }()),
      poll_(std::move(poll)) {
    const Model& of = network_->model();
    if (shortlist_ &&
        (shortlist_->sources() != of.source_embedding().rows() || shortlist_->targets() != of.output.rows())) {
        throw std::invalid_argument("the shortlist is for another vocabulary than this model's.");
    }
}

// ---- what callers see

void Engine::check(const Request& request) const {
    const int source = network_->model().source_embedding().rows(), target = network_->model().output.rows();
    auto inside = [](const std::vector<int>& pieces, int size) {
        return std::all_of(pieces.begin(), pieces.end(), [&](int piece) { return piece >= 0 && piece < size; });
    };
    if (request.source.empty()) {
        throw std::invalid_argument("the source of a request is empty; it needs at least the end-of-sentence piece.");
    }
    if (!inside(request.source, source)) {
        throw std::invalid_argument("a source piece lies outside the vocabulary of " + std::to_string(source) +
                                    " pieces.");
    }
    if (!inside(request.prefix, target)) {
        throw std::invalid_argument("a piece of the prefix lies outside the vocabulary of " + std::to_string(target) +
                                    " pieces.");
    }
    for (auto [name, sequences] :
         {std::pair("banned", &request.options.banned), std::pair("required", &request.options.required)}) {
        for (const auto& sequence : *sequences) {
            if (sequence.empty() || !inside(sequence, target)) {
                throw std::invalid_argument("a " + std::string(name) + " sequence is empty, or has a piece outside the "
                                            "vocabulary of " + std::to_string(target) + " pieces.");
            }
        }
    }
    if (!inside(request.vocabulary, target)) {
        throw std::invalid_argument("a piece of a request's own vocabulary lies outside the model's, which has " +
                                    std::to_string(target) + " pieces.");
    }
    if (int(request.source.size()) > network_->model().max_source_positions()) {
        throw std::invalid_argument("a source has " + std::to_string(request.source.size()) +
                                    " pieces, but this model has " +
                                    std::to_string(network_->model().max_source_positions()) + " learned positions. Split the text.");
    }
    if (int(request.prefix.size()) + request.options.required_pieces() >= network_->model().max_target_positions()) {
        throw std::invalid_argument("a prefix, with what is required, is longer than the positions that this model has "
                                    "learned.");
    }
}

std::unique_ptr<Engine::Sentence> Engine::prepare(Request request, bool awaited) const {
    check(request);
    const Model& model = network_->model();
    request.options.max_length = std::min(request.options.max_length, model.max_target_positions());
    std::vector<int>& vocabulary = request.vocabulary;
    if (vocabulary.empty() && shortlist_) vocabulary = shortlist_->pieces(request.source);
    if (!vocabulary.empty()) {
        vocabulary.push_back(model.shape.eos);
        vocabulary.insert(vocabulary.end(), request.prefix.begin(), request.prefix.end());
        for (auto& sequence : request.options.required) {
            vocabulary.insert(vocabulary.end(), sequence.begin(), sequence.end());
        }
        std::sort(vocabulary.begin(), vocabulary.end());
        vocabulary.erase(std::unique(vocabulary.begin(), vocabulary.end()), vocabulary.end());
    }
    auto sentence = std::make_unique<Sentence>();
    sentence->awaited = awaited;
    sentence->request = std::move(request);
    return sentence;
}

int64_t Engine::enqueue(std::unique_ptr<Sentence> sentence) {
    sentence->number = next_++;
    waiting_.push_back(std::move(sentence));
    return waiting_.back()->number;
}

int64_t Engine::add(Request request) {
    auto sentence = prepare(std::move(request), false);
    std::lock_guard<std::mutex> lock(mutex_);
    return enqueue(std::move(sentence));
}

bool Engine::cancel(int64_t number) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
        if ((*it)->number == number) {
            waiting_.erase(it);
            return true;
        }
    }
    for (auto& sentence : active_) {  // the runner drops it before its next step
        if (sentence->number == number && !sentence->cancelled) return sentence->cancelled = true;
    }
    return false;
}

bool Engine::busy() {
    std::lock_guard<std::mutex> lock(mutex_);
    const bool active = std::any_of(active_.begin(), active_.end(), [](auto& s) { return !s->cancelled; });
    return active || !waiting_.empty() || !done_.empty();
}

std::vector<Result> Engine::step(bool partial) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return !running_; });
    steps_ = 0;
    run(lock, [&] { return steps_ >= 1; });
    for (auto it = done_.begin(); it != done_.end(); ++it) {
        if (const std::exception_ptr error = it->second.error) {
            done_.erase(it);
            std::rethrow_exception(error);
        }
    }
    std::vector<Result> results;
    for (auto& [number, outcome] : done_) results.push_back({number, std::move(outcome.hypotheses), true});
    done_.clear();
    if (partial) {
        for (auto& sentence : active_) {
            if (sentence->awaited || sentence->cancelled || sentence->search->length() == 0) continue;
            results.push_back({sentence->number, {sentence->search->best_so_far()}, false});
        }
    }
    return results;
}

std::vector<std::vector<Hypothesis>> Engine::translate(std::vector<Request> requests) {
    std::vector<std::unique_ptr<Sentence>> sentences;
    for (Request& request : requests) sentences.push_back(prepare(std::move(request), true));
    // Sentences of like length run together, so that the batch stays full to the end.
    std::vector<size_t> order(sentences.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return sentences[a]->request.source.size() > sentences[b]->request.source.size();
    });
    std::vector<int64_t> numbers(sentences.size(), -1);
    std::vector<std::vector<Hypothesis>> found(sentences.size());
    std::set<int64_t> missing;
    std::unique_lock<std::mutex> lock(mutex_);
    auto take = [&] {  // with the lock
        for (auto it = missing.begin(); it != missing.end();) {
            it = awaited_done_.count(*it) ? missing.erase(it) : std::next(it);
        }
        return missing.empty();
    };
    try {
        for (size_t i : order) missing.insert(numbers[i] = enqueue(std::move(sentences[i])));
        while (!take()) {
            if (running_) {
                changed_.wait(lock);
            } else {
                run(lock, take);
            }
        }
        for (int64_t number : numbers) {
            if (const std::exception_ptr error = awaited_done_.at(number).error) std::rethrow_exception(error);
        }
    } catch (...) {  // interrupted, or one of them failed: nobody waits for these any more
        for (int64_t number : numbers) {
            awaited_done_.erase(number);
            waiting_.remove_if([&](auto& sentence) { return sentence->number == number; });
            for (auto& sentence : active_) sentence->cancelled |= sentence->number == number;
        }
        throw;
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
        found[i] = std::move(awaited_done_[numbers[i]].hypotheses);
        awaited_done_.erase(numbers[i]);
    }
    return found;
}

// ---- the runner

// Decode until enough() or nothing is left. Called and left with the lock; it is free in between.
void Engine::run(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough) {
    running_ = true;
    error_ = nullptr;
    polled_ = std::chrono::steady_clock::now();
    lock.unlock();
    try {
        team_.run([&](int id) {
            for (;;) {
                if (id == 0) {
                    go_ = plan(enough);
                    while (go_ && team_.rest()) {
                        work(0);
                        go_ = plan(enough);
                    }
                }
                team_.gather(id);
                if (!go_) return;
                work(id);
            }
        });
    } catch (...) {  // no threads to be had
        error_ = std::current_exception();
    }
    lock.lock();
    running_ = false;
    changed_.notify_all();
    if (error_) std::rethrow_exception(error_);
}

// Between two steps, on the runner alone: take out what is done, let others join, lay out the next step.
bool Engine::plan(const std::function<bool()>& enough) {
    try {
        std::unique_lock<std::mutex> lock(mutex_);
        collect();
        if (enough()) return false;
        const auto now = std::chrono::steady_clock::now();
        if (now - polled_ > std::chrono::milliseconds(50)) {
            polled_ = now;
            lock.unlock();
            poll_();
            lock.lock();
        }
        do {
            admit();
            if (active_.empty()) return false;
        } while (!lay_out());
        ++steps_;
        return true;
    } catch (...) {
        error_ = std::current_exception();
        return false;
    }
}

// Take out what is done, has failed or is not wanted any more.
void Engine::collect() {
    bool found = false;
    for (auto it = active_.begin(); it != active_.end();) {
        Sentence& sentence = **it;
        if (!sentence.cancelled && !sentence.error && !sentence.search->done()) {
            ++it;
            continue;
        }
        if (!sentence.cancelled) {
            close(sentence);
            found = true;
        }
        it = active_.erase(it);
    }
    if (found) changed_.notify_all();
}

// Say what became of a sentence.
void Engine::close(Sentence& sentence) {
    Outcome& outcome = (sentence.awaited ? awaited_done_ : done_)[sentence.number];
    outcome.error = sentence.error;
    if (outcome.error) return;
    try {
        outcome.hypotheses = sentence.search->results();
    } catch (...) {
        outcome.error = std::current_exception();
    }
}

// Let waiting requests join while there is room, several at once: the encoder reads its weights once for all.
void Engine::admit() {
    joining_.clear();
    joined_.clear();
    joining_rows_ = 0;
    auto load = [](const Sentence& sentence) { return sentence.request.width() * int(sentence.request.source.size()); };
    int running = 0;
    for (auto& sentence : active_) running += load(*sentence);
    if (2 * running > max_tokens_) return;
    while (!waiting_.empty()) {
        Sentence& sentence = *waiting_.front();
        const int length = int(sentence.request.source.size());
        if (!active_.empty() && running + load(sentence) > max_tokens_) break;
        if (!joining_.empty() && joining_rows_ + length > ENCODER_ROWS) break;
        running += load(sentence);
        active_.splice(active_.end(), waiting_, waiting_.begin());
        try {
            const Request& request = sentence.request;
            sentence.search.emplace(request, network_->model().shape.bos, network_->model().shape.eos);
            sentence.memory.start(network_->memory_layout(), length);
            sentence.cache.start(network_->cache_layout(), request.width());
            if (!request.vocabulary.empty()) sentence.selection.start(network_->model().output, request.vocabulary);
            joining_.reserve(joining_.size() + 1);
            joined_.push_back(&sentence);
        } catch (...) {
            sentence.error = std::current_exception();
            continue;
        }
        joining_.push_back({&sentence.request.source, joining_rows_, &sentence.memory});
        joining_rows_ += length;
    }
    collect();
}

// Prepare the step; false where memory ran out, and all that runs has failed.
bool Engine::lay_out() {
    try {
        give_rows();
        return true;
    } catch (...) {
        for (auto& sentence : active_) sentence->error = std::current_exception();
    }
    collect();
    return false;
}

// Give every hypothesis its row of the step, and every thread the memory that it needs.
void Engine::give_rows() {
    const int heads = network_->model().shape.num_heads, threads = team_.size();
    batch_.items.clear();
    sentences_.clear();
    size_t rows = 0;
    int longest_source = 0, longest_target = 0;
    candidates_ = 1;
    keep_logits_ = false;
    auto is_whole = [](const Sentence& sentence) { return sentence.request.vocabulary.empty(); };
    for (const bool whole : {true, false}) {
        for (auto& sentence : active_) {
            if (is_whole(*sentence) == whole) sentences_.push_back(sentence.get());
        }
        if (whole) whole_items_ = int(sentences_.size());
    }
    for (Sentence* pointer : sentences_) {
        Sentence& sentence = *pointer;
        const int count = int(sentence.search->rows().size()), source = int(sentence.request.source.size());
        sentence.cache.reserve(sentence.search->length());
        if (sentence.request.wants_attention()) sentence.attention.reserve(size_t(count) * heads * source);
        batch_.items.push_back({&sentence.memory, &sentence.cache, int(rows), count,
                                sentence.request.wants_attention() ? sentence.attention.data() : nullptr});
        rows += size_t(count);
        longest_source = std::max(longest_source, source);
        longest_target = std::max(longest_target, sentence.search->length() + 1);
        candidates_ = std::max(candidates_, sentence.search->candidates());
        keep_logits_ |= sentence.search->wants_logits();
    }
    batch_.rows.resize(rows);
    rules_.resize(rows);
    network_->reserve(joining_rows_, longest_source, int(rows), longest_target);
    scans_.resize(rows * threads);
    best_logits_.reserve(rows * threads * candidates_);
    best_pieces_.reserve(rows * threads * candidates_);
    if (keep_logits_) logits_.reserve(rows * network_->model().output.packed().outputs);
    for (int id = 0; id < threads; ++id) {
        network_->worker(id).logits.reserve(std::max<size_t>(CHUNK_FLOATS, rows * ALIGN));
    }
}

}  // namespace regard
