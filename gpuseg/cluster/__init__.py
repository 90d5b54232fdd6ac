"""Estimators with scikit-learn manners: core's rules, an engine's verbs and graph's executors, composed."""
