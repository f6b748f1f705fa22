"""London dispersion corrections computed by the packages of their authors: what the add-ons d3 and d4 share."""
