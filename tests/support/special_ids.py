"""The ids that special tokens have in a vocabulary that is learned here: for texts made of ids."""

from ssl_runner.data.text.tokens import SPECIAL
from ssl_runner.interfaces import SpecialTokens

IDS = SpecialTokens()
PAD, UNK, CLS, SEP, MASK, EOS = range(len(SPECIAL))
