#include "engine.h"

#include <algorithm>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>

namespace regard {
namespace {

constexpr float NEVER = -std::numeric_limits<float>::infinity();
// Logits are scanned in parts that stay in the second-level cache.
constexpr int CHUNK_FLOATS = 1 << 16;
constexpr int WIDEST_CHUNK = 1024;
// Rows that are encoded together.
constexpr int ENCODER_ROWS = 1024;

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, int threads, int max_tokens, std::vector<int> never,
               std::function<void()> poll)
    : network_(std::make_unique<Network>(std::move(model), threads)),
      team_(threads),
      max_tokens_(max_tokens),
      never_([&] {
          std::sort(never.begin(), never.end());
          return std::move(never);
      }()),
      poll_(std::move(poll)) {}

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
    for (const auto& ban : request.options.banned) {
        if (ban.empty() || !inside(ban, target)) {
            throw std::invalid_argument("a banned sequence is empty, or has a piece outside the vocabulary of " +
                                        std::to_string(target) + " pieces.");
        }
    }
    if (int(request.source.size()) > network_->model().max_source_positions()) {
        throw std::invalid_argument("a source has " + std::to_string(request.source.size()) +
                                    " pieces, but this model has " + std::to_string(network_->model().max_source_positions()) +
                                    " learned positions. Split the text.");
    }
    if (int(request.prefix.size()) >= network_->model().max_target_positions()) {
        throw std::invalid_argument("a prefix is longer than the positions that this model has learned.");
    }
}

int64_t Engine::enqueue(Request request, bool awaited) {
    request.options.max_length = std::min(request.options.max_length, network_->model().max_target_positions());
    auto sentence = std::make_unique<Sentence>();
    sentence->number = next_++;
    sentence->awaited = awaited;
    sentence->request = std::move(request);
    waiting_.push_back(std::move(sentence));
    return waiting_.back()->number;
}

int64_t Engine::add(Request request) {
    check(request);
    std::lock_guard<std::mutex> lock(mutex_);
    return enqueue(std::move(request), false);
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
    std::vector<Result> results;
    for (auto& [number, hypotheses] : done_) results.push_back({number, std::move(hypotheses), true});
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
    for (const Request& request : requests) check(request);
    // Sentences of like length run together, so that the batch stays full to the end.
    std::vector<size_t> order(requests.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return requests[a].source.size() > requests[b].source.size(); });
    std::vector<int64_t> numbers(requests.size());
    std::unique_lock<std::mutex> lock(mutex_);
    std::set<int64_t> missing;
    for (size_t i : order) missing.insert(numbers[i] = enqueue(std::move(requests[i]), true));
    std::vector<std::vector<Hypothesis>> found(numbers.size());
    auto take = [&] {  // with the lock
        for (auto it = missing.begin(); it != missing.end();) {
            it = awaited_done_.count(*it) ? missing.erase(it) : std::next(it);
        }
        return missing.empty();
    };
    try {
        while (!take()) {
            if (running_) {
                changed_.wait(lock);
            } else {
                run(lock, take);
            }
        }
    } catch (...) {  // interrupted: nobody waits for these any more
        for (int64_t number : numbers) {
            awaited_done_.erase(number);
            waiting_.remove_if([&](auto& sentence) { return sentence->number == number; });
            for (auto& sentence : active_) sentence->cancelled |= sentence->number == number;
        }
        throw;
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
        found[i] = std::move(awaited_done_[numbers[i]]);
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
        admit();
        if (active_.empty()) return false;
        lay_out();
        ++steps_;
        return true;
    } catch (...) {
        error_ = std::current_exception();
        return false;
    }
}

void Engine::collect() {
    bool found = false;
    for (auto it = active_.begin(); it != active_.end();) {
        Sentence& sentence = **it;
        if (!sentence.cancelled && !(sentence.search->done())) {
            ++it;
            continue;
        }
        if (!sentence.cancelled) {
            (sentence.awaited ? awaited_done_ : done_)[sentence.number] = sentence.search->results();
            found = true;
        }
        it = active_.erase(it);
    }
    if (found) changed_.notify_all();
}

// Let waiting requests join while there is room, several at once: the encoder reads its weights once for all.
void Engine::admit() {
    joining_.clear();
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
        sentence.search.emplace(sentence.request, network_->model().shape.bos, network_->model().shape.eos);
        sentence.memory.start(network_->memory_layout(), length);
        sentence.cache.start(network_->cache_layout(), sentence.request.width());
        joining_.push_back({&sentence.request.source, joining_rows_, &sentence.memory});
        joining_rows_ += length;
        active_.splice(active_.end(), waiting_, waiting_.begin());
    }
}

// Give every hypothesis its row of the step, and every thread the memory that it needs.
void Engine::lay_out() {
    const int heads = network_->model().shape.num_heads, threads = team_.size();
    batch_.items.clear();
    sentences_.clear();
    size_t rows = 0;
    int longest_source = 0, longest_target = 0;
    candidates_ = 1;
    keep_logits_ = false;
    for (auto& pointer : active_) {
        Sentence& sentence = *pointer;
        const int count = int(sentence.search->rows().size()), source = int(sentence.request.source.size());
        sentence.cache.reserve(sentence.search->length());
        if (sentence.request.wants_attention()) sentence.attention.reserve(size_t(count) * heads * source);
        sentences_.push_back(&sentence);
        batch_.items.push_back({&sentence.memory, &sentence.cache, int(rows), count,
                                sentence.request.wants_attention() ? sentence.attention.data() : nullptr});
        rows += size_t(count);
        longest_source = std::max(longest_source, source);
        longest_target = std::max(longest_target, sentence.search->length() + 1);
        candidates_ = std::max(candidates_, sentence.search->candidates());
        keep_logits_ |= sentence.search->samples();
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

// ---- one step, on all threads

void Engine::work(int id) {
    if (!joining_.empty()) network_->encode(team_, id, joining_, joining_rows_);
    place_rows(id);
    team_.barrier(id);
    const Inputs hidden = network_->decode(team_, id, batch_);
    scan_vocabulary(id, hidden);
    team_.barrier(id);
    advance(id);
    team_.barrier(id);
}

void Engine::place_rows(int id) {
    const Range mine = team_.share(int(sentences_.size()), id);
    for (int i = mine.first; i < mine.last; ++i) {
        Sentence& sentence = *sentences_[i];
        const Search& search = *sentence.search;
        const DecoderItem& item = batch_.items[i];
        for (int r = 0; r < item.rows; ++r) {
            DecoderRow& row = batch_.rows[item.first_row + r];
            row.piece = search.rows()[r].piece;
            row.position = search.length();
            row.slot = r;
            search.ancestors(r, sentence.slots);
            row.steps.resize(sentence.slots.size());
            for (size_t t = 0; t < row.steps.size(); ++t) row.steps[t] = sentence.cache.at(int(t), sentence.slots[t]);
            Rule& rule = rules_[item.first_row + r];
            rule.forced = search.forced_piece();
            search.forbidden_pieces(r, rule.forbidden);
        }
    }
}

// Logits of this thread's part of the vocabulary, a chunk at a time: normaliser and best pieces of every row.
void Engine::scan_vocabulary(int id, const Inputs& hidden) {
    const Matrix& output = network_->model().output;
    const Kernels& kernels = network_->model().kernels;
    const int rows = int(batch_.rows.size()), threads = team_.size();
    for (int row = 0; row < rows; ++row) {
        const size_t place = size_t(row) * threads + id;
        scans_[place] = {NEVER, 0.0f, candidates_, 0, best_logits_.data() + place * candidates_,
                         best_pieces_.data() + place * candidates_};
    }
    const int fitting = std::max(ALIGN, std::min(WIDEST_CHUNK, CHUNK_FLOATS / rows / ALIGN * ALIGN));
    const int chunk = std::max(1, fitting / kernels.panel);
    const Range mine = team_.share(output.panels(), id);
    for (int panel = mine.first; panel < mine.last; panel += chunk) {
        const int panels = std::min(chunk, mine.last - panel), stride = panels * kernels.panel;
        const PackedWeights part = output.slice(panel, panels);
        float* logits = network_->worker(id).logits.data();
        (part.ints ? kernels.multiply_int8 : kernels.multiply_float)(part, 0, panels, hidden, rows, {logits, stride});
        const int first = panel * kernels.panel;
        scan_rows(id, first, std::min(stride, output.rows() - first), stride);
    }
}

// Take the chunk of `count` logits from piece `first` on into the scans.
void Engine::scan_rows(int id, int first, int count, int stride) {
    const Kernels& kernels = network_->model().kernels;
    const int rows = int(batch_.rows.size()), threads = team_.size();
    const size_t kept_stride = network_->model().output.packed().outputs;
    const auto banned = std::lower_bound(never_.begin(), never_.end(), first);
    const auto banned_end = std::lower_bound(never_.begin(), never_.end(), first + count);
    for (int row = 0; row < rows && count > 0; ++row) {
        float* logits = network_->worker(id).logits.data() + size_t(row) * stride;
        Scan& scan = scans_[size_t(row) * threads + id];
        // the probabilities of all pieces, before any rule
        kernels.scan_normaliser(scan, logits, count);
        if (keep_logits_) std::copy_n(logits, count, logits_.data() + row * kept_stride + first);
        const Rule& rule = rules_[row];
        if (rule.forced >= 0) {
            if (rule.forced >= first && rule.forced < first + count) {
                kernels.scan_best(scan, logits + (rule.forced - first), 1, rule.forced);
            }
            continue;
        }
        for (auto it = banned; it != banned_end; ++it) logits[*it - first] = NEVER;
        for (int piece : rule.forbidden) {
            if (piece >= first && piece < first + count) logits[piece - first] = NEVER;
        }
        kernels.scan_best(scan, logits, count, first);
    }
}

void Engine::advance(int id) {
    const int threads = team_.size();
    const size_t kept_stride = network_->model().output.packed().outputs;
    const Range mine = team_.share(int(sentences_.size()), id);
    std::vector<RowScores> scores;
    for (int i = mine.first; i < mine.last; ++i) {
        const DecoderItem& item = batch_.items[i];
        scores.clear();
        for (int row = item.first_row; row < item.first_row + item.rows; ++row) {
            scores.push_back({&scans_[size_t(row) * threads], team_.width(),
                              keep_logits_ ? logits_.data() + row * kept_stride : nullptr});
        }
        sentences_[i]->search->advance(scores, never_, network_->model().output.rows(), item.attention,
                                       network_->model().shape.num_heads);
    }
}

}  // namespace regard
