"""Damage models: training, the xView2 score, what synthetic pairs are worth."""
