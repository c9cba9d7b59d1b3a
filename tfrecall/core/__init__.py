"""The ground floor of both wings: ids, ragged lists, top-K, answers, files written whole."""
