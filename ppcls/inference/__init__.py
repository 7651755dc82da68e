"""Prediction with exported models; free of Paddle until the paddle engine is chosen."""

from ppcls.inference.predictor import Predictor

__all__ = ["Predictor"]
