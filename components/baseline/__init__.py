"""The float model that everything else is made from and held against: trained here, or pretrained."""
