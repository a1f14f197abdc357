"""Pagoda in the engines that can take an attention from outside."""
