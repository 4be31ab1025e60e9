// One step of the batch, on all threads. A thread must not throw: what goes wrong in a sentence is noted with it.

#include <algorithm>
#include <limits>

#include "engine.h"

namespace regard {
namespace {

constexpr float NEVER = -std::numeric_limits<float>::infinity();
// Rows are scanned in parts of this many pieces at most.
constexpr int WIDEST_CHUNK = 1024;

}  // namespace

void Engine::work(int id) {
    for (Sentence* sentence : joined_) {
        if (sentence->request.vocabulary.empty()) continue;
        const Range mine = team_.share(sentence->selection.panels(), id);
        sentence->selection.fill(mine.first, mine.last);
    }
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
        try {
            place_rows(batch_.items[i], *sentences_[i]);
        } catch (...) {
            sentences_[i]->error = std::current_exception();
            for (int r = 0; r < batch_.items[i].rows; ++r) {  // the step goes on over something harmless
                DecoderRow& row = batch_.rows[batch_.items[i].first_row + r];
                row.piece = row.position = row.slot = 0;
                row.steps.clear();
                rules_[batch_.items[i].first_row + r] = {};
            }
        }
    }
}

void Engine::place_rows(const DecoderItem& item, Sentence& sentence) {
    const Search& search = *sentence.search;
    for (int r = 0; r < item.rows; ++r) {
        DecoderRow& row = batch_.rows[item.first_row + r];
        row.piece = search.rows()[r].piece;
        row.position = search.length();
        row.slot = r;
        search.ancestors(r, sentence.slots);
        row.steps.resize(sentence.slots.size());
        for (size_t t = 0; t < row.steps.size(); ++t) row.steps[t] = sentence.cache.at(int(t), sentence.slots[t]);
        Rule& rule = rules_[item.first_row + r];
        rule.keep_logits = search.wants_logits();
        rule.forced = search.forced_piece();
        search.forbidden_pieces(r, rule.forbidden);
    }
}

Vocabulary Engine::vocabulary_of(const Sentence& sentence) const {
    const std::vector<int>& pieces = sentence.request.vocabulary;
    if (pieces.empty()) return {network_->model().output.rows()};
    return {int(pieces.size()), pieces.data()};
}

// Normaliser and best pieces of every row, over this thread's part of its vocabulary.
void Engine::scan_vocabulary(int id, const Inputs& hidden) {
    const Matrix& output = network_->model().output;
    const int rows = int(batch_.rows.size()), threads = team_.size();
    for (int row = 0; row < rows; ++row) {
        const size_t place = size_t(row) * threads + id;
        scans_[place] = {NEVER, 0.0f, candidates_, 0, best_logits_.data() + place * candidates_,
                         best_pieces_.data() + place * candidates_};
    }
    int first = rows;
    if (whole_items_ < int(sentences_.size())) first = batch_.items[whole_items_].first_row;
    if (first > 0) scan(id, output.packed(), {output.rows()}, hidden, {0, first});
    for (size_t i = size_t(whole_items_); i < sentences_.size(); ++i) {
        const DecoderItem& item = batch_.items[i];
        scan(id, sentences_[i]->selection.packed(), vocabulary_of(*sentences_[i]), hidden,
             {item.first_row, item.first_row + item.rows});
    }
}

// The same for some rows that share a vocabulary, a chunk of it at a time.
void Engine::scan(int id, const PackedWeights& weights, const Vocabulary& vocabulary, const Inputs& hidden,
                  Range rows) {
    const Kernels& kernels = network_->model().kernels;
    const int count = rows.last - rows.first;
    const int fitting = std::max(ALIGN, std::min(WIDEST_CHUNK, CHUNK_FLOATS / count / ALIGN * ALIGN));
    const int chunk = std::max(1, fitting / kernels.panel);
    const Range mine = team_.share(weights.outputs / kernels.panel, id);
    for (int panel = mine.first; panel < mine.last; panel += chunk) {
        const int panels = std::min(chunk, mine.last - panel), stride = panels * kernels.panel;
        const PackedWeights part = slice(weights, kernels.panel, panel, panels);
        (part.ints ? kernels.multiply_int8 : kernels.multiply_float)(
            part, 0, panels, hidden.from(rows.first), count, {network_->worker(id).logits.data(), stride});
        const int first = panel * kernels.panel;
        scan_rows(id, vocabulary, {first, std::min(first + stride, vocabulary.size)}, stride, rows);
    }
}

// Take the logits of some places of the vocabulary into the scans.
void Engine::scan_rows(int id, const Vocabulary& vocabulary, Range places, int stride, Range rows) {
    const Kernels& kernels = network_->model().kernels;
    const int threads = team_.size(), first = places.first, count = places.last - places.first;
    const size_t kept_stride = network_->model().output.packed().outputs;
    float* logits = network_->worker(id).logits.data();
    auto forbid = [&](int piece) {
        const int place = vocabulary.place(piece) - first;
        if (place >= 0 && place < count) logits[place] = NEVER;
    };
    for (int row = rows.first; row < rows.last && count > 0; ++row, logits += stride) {
        Scan& scan = scans_[size_t(row) * threads + id];
        // the probabilities of all pieces, before any rule
        kernels.scan_normaliser(scan, logits, count);
        const Rule& rule = rules_[row];
        if (rule.keep_logits) std::copy_n(logits, count, logits_.data() + row * kept_stride + first);
        if (rule.forced >= 0) {
            const int place = vocabulary.place(rule.forced);
            if (place >= first && place < places.last) kernels.scan_best(scan, logits + (place - first), 1, place);
            continue;
        }
        for (int piece : never_) forbid(piece);
        for (int piece : rule.forbidden) forbid(piece);
        kernels.scan_best(scan, logits, count, first);
    }
}

void Engine::advance(int id) {
    const int threads = team_.size();
    const size_t kept_stride = network_->model().output.packed().outputs;
    const Range mine = team_.share(int(sentences_.size()), id);
    for (int i = mine.first; i < mine.last; ++i) {
        const DecoderItem& item = batch_.items[i];
        if (sentences_[i]->error) continue;
        try {
            std::vector<RowScores> scores;
            for (int row = item.first_row; row < item.first_row + item.rows; ++row) {
                const float* logits = rules_[row].keep_logits ? logits_.data() + row * kept_stride : nullptr;
                scores.push_back({&scans_[size_t(row) * threads], team_.width(), logits});
            }
            sentences_[i]->search->advance(scores, never_, vocabulary_of(*sentences_[i]), item.attention,
                                           network_->model().shape.num_heads);
        } catch (...) {
            sentences_[i]->error = std::current_exception();
        }
    }
}

}  // namespace regard
