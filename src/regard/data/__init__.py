"""Floor 1: raw input to batches and back: corpora, tokenisers, sentences, documents, length-bucketed batches."""
