"""Checks of runs that were handed in: do their numbers follow from their files, and does all belong together?"""
