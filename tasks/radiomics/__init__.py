"""Radiomics features of regions, as pyradiomics defines them."""
