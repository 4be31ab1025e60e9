#include "search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace regard {
namespace {

constexpr float NEVER = -std::numeric_limits<float>::infinity();

// ((5 + length) / 6)^α, Wu et al. 2016, equation 14.
double length_penalty(int length, double alpha) { return std::pow((5.0 + length) / 6.0, alpha); }

// A number in [0, 1) that depends on these three alone, so that a request draws the same in any company.
double uniform(uint64_t seed, int number, int step) {
    uint64_t x = seed * 0x9e3779b97f4a7c15ULL + (uint64_t(number) << 32) + uint64_t(step) + 1;
    for (int i = 0; i < 2; ++i) {  // splitmix64's mixing (Steele et al. 2014), twice
        x += 0x9e3779b97f4a7c15ULL;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        x ^= x >> 31;
    }
    return double(x >> 11) * 0x1.0p-53;
}

// log Σ exp over all parts.
float log_sum(const RowScores& scores) {
    float top = NEVER;
    for (int i = 0; i < scores.parts; ++i) top = std::max(top, scores.scans[i].maximum);
    double sum = 0;
    for (int i = 0; i < scores.parts; ++i) {
        sum += double(scores.scans[i].sum) * std::exp(double(scores.scans[i].maximum) - top);
    }
    return float(top + std::log(sum));
}

}  // namespace

int Options::required_pieces() const {
    return std::accumulate(required.begin(), required.end(), 0,
                           [](int sum, const std::vector<int>& pieces) { return sum + int(pieces.size()); });
}

Search::Search(const Request& request, int bos, int eos)
    : request_(request),
      eos_(eos),
      limit_(std::max(request.options.max_length,
                      int(request.prefix.size()) + request.options.required_pieces() + 1)) {
    rows_.push_back({bos, 0.0, 0});
}

// ---- what a row has behind it

void Search::ancestors(int row, std::vector<int>& slots) const {
    const int length = this->length();
    slots.resize(length + 1);
    slots[length] = row;
    for (int t = length - 1; t >= 0; --t) slots[t] = trail_[t][slots[t + 1]].parent;
}

std::vector<int> Search::output(int row) const {
    std::vector<int> pieces(length());
    for (int t = length() - 1; t >= 0; --t) {
        pieces[t] = trail_[t][row].piece;
        row = trail_[t][row].parent;
    }
    return pieces;
}

Hypothesis Search::path(const Candidate& last) const {
    Hypothesis found;
    const int source = int(request_.source.size());
    std::vector<int> rows;
    ancestors(last.row, rows);
    for (int t = 0; t < length(); ++t) {
        const Link& link = trail_[t][rows[t + 1]];
        found.ids.push_back(link.piece);
        found.log_probs.push_back(link.log_prob);
    }
    if (last.piece >= 0) {
        found.ids.push_back(last.piece);
        found.log_probs.push_back(last.log_prob);
    }
    if (!found.ids.empty() && found.ids.back() == eos_) found.ids.pop_back();
    if (request_.wants_attention()) {
        found.attended = source;
        for (size_t t = 0; t < found.ids.size(); ++t) {
            const float* weights = attention_[t].data() + size_t(rows[t]) * source;
            found.attention.insert(found.attention.end(), weights, weights + source);
        }
    }
    const double sum = std::accumulate(found.log_probs.begin(), found.log_probs.end(), 0.0);
    found.score = sum / length_penalty(int(found.log_probs.size()), request_.options.length_penalty);
    return found;
}

// ---- rules

int Search::forced_piece() const { return length() < int(request_.prefix.size()) ? request_.prefix[length()] : -1; }

void Search::forbidden_pieces(int row, std::vector<int>& pieces) const {
    pieces.clear();
    const Options& options = request_.options;
    if (length() < options.min_length) pieces.push_back(eos_);
    if (options.banned.empty() && !options.no_repeat_ngram && options.required.empty()) return;
    const std::vector<int> output = this->output(row);
    if (progress(output).count < options.required_pieces()) pieces.push_back(eos_);
    for (const std::vector<int>& ban : options.banned) {
        const size_t context = ban.size() - 1;
        if (context <= output.size() && std::equal(ban.begin(), ban.end() - 1, output.end() - context)) {
            pieces.push_back(ban.back());
        }
    }
    const size_t size = size_t(options.no_repeat_ngram);
    if (size && output.size() + 1 >= size) {
        const auto context = output.end() - (size - 1);
        for (size_t i = 0; i + size <= output.size(); ++i) {
            if (std::equal(context, output.end(), output.begin() + i)) pieces.push_back(output[i + size - 1]);
        }
    }
}

// Take one more piece into account.
void Search::count(Progress& progress, int piece) const {
    const std::vector<std::vector<int>>& required = request_.options.required;
    if (progress.current >= 0 && required[progress.current][progress.place] != piece) {  // left off in the middle
        progress.count -= progress.place;
        progress.current = -1;
    } else if (progress.current >= 0) {
        ++progress.place;
    }
    for (int i = 0; progress.current < 0 && i < int(required.size()); ++i) {
        if (!progress.met[i] && required[i][0] == piece) progress.current = i, progress.place = 1;
    }
    if (progress.current < 0) return;
    ++progress.count;
    if (progress.place == int(required[progress.current].size())) {
        progress.met[progress.current] = true;
        progress.current = -1;
    }
}

Progress Search::progress(const std::vector<int>& output) const {
    Progress progress;
    progress.met.resize(request_.options.required.size());
    for (int piece : output) count(progress, piece);
    return progress;
}

// ---- one step

std::vector<Search::Candidate> Search::best(int row, const RowScores& scores, const Vocabulary& vocabulary) const {
    const float normaliser = log_sum(scores);
    std::vector<Candidate> found;
    for (int i = 0; i < scores.parts; ++i) {
        for (int j = 0; j < scores.scans[i].found; ++j) {
            const float log_prob = scores.scans[i].logits[j] - normaliser;
            const int piece = vocabulary.piece(scores.scans[i].pieces[j]);
            found.push_back({row, piece, log_prob, rows_[row].score + log_prob});
        }
    }
    std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.log_prob > b.log_prob; });
    if (int(found.size()) > candidates()) found.resize(candidates());
    return found;
}

// Complete the candidates of a row that must bring required pieces: what would bring one is among them, however
// improbable, and what would leave too little room for the rest is not.
void Search::require(int row, const RowScores& scores, const std::vector<int>& never, const Vocabulary& vocabulary,
                     std::vector<Candidate>& candidates) const {
    const std::vector<std::vector<int>>& required = request_.options.required;
    const Progress before = progress(output(row));
    if (forced_piece() < 0) {
        std::vector<int> wanted, forbidden;
        if (before.current >= 0) wanted.push_back(required[before.current][before.place]);
        for (int i = 0; i < int(required.size()); ++i) {
            if (!before.met[i] && i != before.current) wanted.push_back(required[i][0]);
        }
        forbidden_pieces(row, forbidden);
        const float normaliser = log_sum(scores);
        for (int piece : wanted) {
            if (std::any_of(candidates.begin(), candidates.end(), [&](auto& c) { return c.piece == piece; })) continue;
            if (std::find(forbidden.begin(), forbidden.end(), piece) != forbidden.end()) continue;
            if (std::find(never.begin(), never.end(), piece) != never.end()) continue;
            const float log_prob = scores.logits[vocabulary.place(piece)] - normaliser;
            candidates.push_back({row, piece, log_prob, rows_[row].score + log_prob});
        }
    }
    const int all = request_.options.required_pieces();
    for (Candidate& candidate : candidates) {
        Progress after = before;
        if (candidate.piece != eos_) count(after, candidate.piece);
        candidate.count = after.count;
    }
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                    [&](auto& c) { return length() + 1 + all - c.count > limit_; }),
                     candidates.end());
}

Search::Candidate Search::draw(int row, int number, const RowScores& scores, const std::vector<int>& never,
                               const Vocabulary& vocabulary) const {
    const Options& options = request_.options;
    const float normaliser = log_sum(scores);
    auto candidate = [&](int place) {
        const float log_prob = scores.logits[place] - normaliser;
        return Candidate{row, vocabulary.piece(place), log_prob, rows_[row].score + log_prob, number};
    };
    if (forced_piece() >= 0) return candidate(vocabulary.place(forced_piece()));
    struct Choice {
        double weight;
        int place;
    };
    std::vector<Choice> choices(vocabulary.size);
    for (int i = 0; i < vocabulary.size; ++i) choices[i] = {scores.logits[i] / options.temperature, i};
    std::vector<int> forbidden;
    forbidden_pieces(row, forbidden);
    for (const std::vector<int>* list : {&never, static_cast<const std::vector<int>*>(&forbidden)}) {
        for (int piece : *list) {
            if (const int place = vocabulary.place(piece); place >= 0) choices[place].weight = NEVER;
        }
    }
    choices.erase(std::remove_if(choices.begin(), choices.end(), [](auto& c) { return !(c.weight > NEVER); }),
                  choices.end());
    if (choices.empty()) return {row, eos_, NEVER, NEVER, number};
    auto heavier = [](const Choice& a, const Choice& b) { return a.weight > b.weight; };
    if (options.top_k && options.top_k < int(choices.size())) {
        std::nth_element(choices.begin(), choices.begin() + options.top_k - 1, choices.end(), heavier);
        const double smallest = choices[options.top_k - 1].weight;
        choices.erase(std::remove_if(choices.begin(), choices.end(), [&](auto& c) { return c.weight < smallest; }),
                      choices.end());
    }
    double top = NEVER, sum = 0;
    for (const Choice& choice : choices) top = std::max(top, choice.weight);
    for (Choice& choice : choices) sum += choice.weight = std::exp(choice.weight - top);
    if (options.top_p < 1) {
        std::sort(choices.begin(), choices.end(), heavier);
        double before = 0;  // keep the piece that crosses the line
        size_t kept = 0;
        for (; kept < choices.size() && before < options.top_p * sum; ++kept) before += choices[kept].weight;
        choices.resize(std::max<size_t>(kept, 1));
        sum = std::max(before, choices[0].weight);
    }
    double point = uniform(options.seed, number, length()) * sum;
    size_t place = 0;
    while (place + 1 < choices.size() && (point -= choices[place].weight) >= 0) ++place;
    return candidate(choices[place].place);
}

void Search::advance(const std::vector<RowScores>& scores, const std::vector<int>& never, const Vocabulary& vocabulary,
                     const float* attention, int heads) {
    if (request_.wants_attention()) {
        const size_t source = request_.source.size();
        std::vector<float> mean(rows_.size() * source, 0.0f);
        for (size_t row = 0; row < rows_.size(); ++row) {
            for (int head = 0; head < heads; ++head) {
                const float* weights = attention + (row * heads + head) * source;
                for (size_t s = 0; s < source; ++s) mean[row * source + s] += weights[s] / float(heads);
            }
        }
        attention_.push_back(std::move(mean));
    }
    std::vector<Candidate> candidates;
    const bool required = !request_.options.required.empty();
    if (request_.options.sample) {
        const bool first = length() == 0;  // all draws start from one row
        const int draws = first ? request_.options.num_hypotheses : int(rows_.size());
        for (int i = 0; i < draws; ++i) {
            const int row = first ? 0 : i;
            candidates.push_back(draw(row, first ? i : rows_[row].number, scores[row], never, vocabulary));
        }
        advance_rows(candidates);
        return;
    }
    for (size_t row = 0; row < rows_.size(); ++row) {
        std::vector<Candidate> found = best(int(row), scores[row], vocabulary);
        if (required) require(int(row), scores[row], never, vocabulary, found);
        candidates.insert(candidates.end(), found.begin(), found.end());
    }
    if (candidates.empty()) {  // the rules leave nothing: what there is must do
        for (size_t row = 0; row < rows_.size(); ++row) finish({int(row), -1, 0, rows_[row].score}, false);
        done_ = true;
    } else if (greedy()) {
        advance_rows(candidates);
    } else if (required) {
        advance_required(std::move(candidates));
    } else {
        advance_beam(std::move(candidates));
    }
}

// Make the chosen candidates the next rows.
void Search::push(const std::vector<Candidate>& chosen) {
    std::vector<Row> next;
    std::vector<Link> links;
    for (const Candidate& c : chosen) {
        next.push_back({c.piece, c.score, c.number});
        links.push_back({c.piece, c.row, c.log_prob});
    }
    rows_ = std::move(next);
    trail_.push_back(std::move(links));
}

void Search::finish(const Candidate& last, bool finished) {
    finished_.push_back(path(last));
    finished_.back().finished = finished;
}

// Rows that stand alone: each goes on by its one candidate, or ends.
void Search::advance_rows(const std::vector<Candidate>& chosen) {
    std::vector<Candidate> going;
    for (const Candidate& c : chosen) {
        const bool ended = c.piece == eos_;
        if (ended || length() + 1 >= limit_) {
            finish(c, ended);
        } else {
            going.push_back(c);
        }
    }
    push(going);
    done_ = rows_.empty();
}

void Search::advance_beam(std::vector<Candidate> candidates) {
    const size_t width = size_t(request_.options.beam);
    std::stable_sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.score > b.score; });
    std::vector<Candidate> going;
    // 2·width candidates: even if half of them end the sentence, width go on
    for (size_t rank = 0; rank < std::min(2 * width, candidates.size()); ++rank) {
        const Candidate& c = candidates[rank];
        if (c.piece == eos_) {
            if (rank < width) finish(c, true);
        } else if (going.size() < width) {
            going.push_back(c);
        }
    }
    push(going);
    close_beam();
}

// Dynamic beam allocation (Post and Vilar 2018, section 3): hypotheses compete with those that have as many of the
// required pieces, so that the ones that brought an improbable piece are not crowded out by those that did not.
void Search::advance_required(std::vector<Candidate> candidates) {
    const int width = request_.width(), all = request_.options.required_pieces();
    std::stable_sort(candidates.begin(), candidates.end(), [](auto& a, auto& b) { return a.score > b.score; });
    std::vector<int> counts(all + 1), rooms(all + 1);
    for (const Candidate& c : candidates) counts[c.count] += c.piece != eos_;
    const int share = width / (all + 1), last = width - share * all;  // what is left over is for the complete ones
    int left = width;
    for (int i = 0; i <= all; ++i) left -= rooms[i] = std::min(counts[i], i == all ? last : share);
    for (int i = all; i >= 0; --i) {  // what one does not need goes to those that are further
        const int more = std::min(left, counts[i] - rooms[i]);
        rooms[i] += more;
        left -= more;
    }
    std::vector<Candidate> going;
    const int ending = std::max(rooms[all], last);
    int complete = 0;
    for (const Candidate& c : candidates) {
        const int rank = c.count == all ? complete++ : 0;
        if (c.piece == eos_) {
            if (rank < ending) finish(c, true);
        } else if (rooms[c.count] > 0) {
            --rooms[c.count];
            going.push_back(c);
        }
    }
    push(going);
    close_beam();
}

// Stop when nothing that goes on can rank among the finished ones.
void Search::close_beam() {
    const Options& options = request_.options;
    if (rows_.empty()) {
        done_ = true;
    } else if (length() >= limit_) {
        for (size_t row = 0; row < rows_.size(); ++row) finish({int(row), -1, 0, rows_[row].score}, false);
        done_ = true;
    } else if (int(finished_.size()) >= options.beam) {
        std::vector<double> scores;
        for (const Hypothesis& hypothesis : finished_) scores.push_back(hypothesis.score);
        std::sort(scores.begin(), scores.end(), std::greater<>());
        const double worst = scores[options.num_hypotheses - 1];
        double best = NEVER;
        for (const Row& row : rows_) best = std::max(best, row.score);
        // scores only fall, so the best that can come is the present one at the longest length
        best /= length_penalty(options.length_penalty > 0 ? limit_ : length(), options.length_penalty);
        done_ = best <= worst || int(finished_.size()) >= 2 * options.beam;
    }
}

// ---- results

// β·Σ log min(attention that a source piece got, 1), Wu et al. 2016, equation 14.
double Search::coverage(const Hypothesis& hypothesis) const {
    if (request_.options.coverage_penalty <= 0 || hypothesis.ids.empty()) return 0;
    const size_t source = request_.source.size();
    double sum = 0;
    for (size_t s = 0; s < source; ++s) {
        double covered = 0;
        for (size_t t = 0; t < hypothesis.ids.size(); ++t) covered += hypothesis.attention[t * source + s];
        sum += std::log(std::min(std::max(covered, 1e-10), 1.0));
    }
    return request_.options.coverage_penalty * sum;
}

std::vector<Hypothesis> Search::results() const {
    std::vector<Hypothesis> found = finished_;
    for (Hypothesis& hypothesis : found) {
        hypothesis.score += coverage(hypothesis);
        if (!request_.options.alignment) hypothesis.attended = 0;
    }
    std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) {
        return a.finished != b.finished ? a.finished : a.score > b.score;
    });
    if (int(found.size()) > request_.options.num_hypotheses) found.resize(request_.options.num_hypotheses);
    return found;
}

Hypothesis Search::best_so_far() const {
    if (rows_.empty()) return finished_.empty() ? Hypothesis() : finished_.front();
    Hypothesis found = path({0, -1, 0, 0});
    found.score = rows_[0].score;
    found.attended = 0;
    return found;
}

}  // namespace regard
