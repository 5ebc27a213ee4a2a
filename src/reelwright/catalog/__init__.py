"""The catalog: cards of models, and requests resolved against them."""

from reelwright.catalog.card import Card, FrameRule, RateRule, SizeRule, card_from, cards, find
from reelwright.catalog.shot import Shot, ShotInput, resolve

__all__ = ["Card", "FrameRule", "RateRule", "Shot", "ShotInput", "SizeRule", "card_from", "cards", "find", "resolve"]
