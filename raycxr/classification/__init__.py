"""Classifiers of whole films, such as tuberculosis or not, on the features of an encoder."""
