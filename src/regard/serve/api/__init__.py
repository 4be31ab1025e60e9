"""Three dialects of HTTP: Regard's own below /v1, LibreTranslate's at the root, DeepL's below /v2."""
