"""Coded concepts by name: PS3.16 DCM codes, SNOMED CT and UCUM units."""

from __future__ import annotations

from pydicom.sr.coding import Code

# Segment categories and types
TISSUE = Code("85756007", "SCT", "Tissue")
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ORGAN = Code("91772007", "SCT", "Organ")
BRAIN = Code("12738006", "SCT", "Brain")
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
SPLEEN = Code("78961009", "SCT", "Spleen")

# What is measured
VOLUME = Code("118565006", "SCT", "Volume")
AREA = Code("42798000", "SCT", "Area")
ATTENUATION_COEFFICIENT = Code("112031", "DCM", "Attenuation Coefficient")
MR_SIGNAL_INTENSITY = Code("110852", "DCM", "MR signal intensity")
PROBABILITY = Code("122157", "DCM", "Probability")
THRESHOLD_VALUE = Code("122411", "DCM", "Threshold Value")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
PRESENCE_OF_PROPERTY = Code("121052", "DCM", "Presence of property")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")

# Units
MILLILITRE = Code("ml", "UCUM", "milliliter")
SQUARE_MILLIMETRE = Code("mm2", "UCUM", "square millimeter")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNITS = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "Percent")

# How objects refer to each other and what made them
SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
TEMPORAL_PREDECESSOR = Code("121348", "DCM", "Temporal Predecessor")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")
MR_PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")
XR_PROCEDURE = Code("43468-8", "LN", "XR unspecified body region")
DEVICE = Code("121007", "DCM", "Device")
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT = Code("121106", "DCM", "Comment")

# What a map of an explanation shows, and where
QUANTITY = Code("246205007", "SCT", "Quantity")
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
GRADIENT_WEIGHTED_CLASS_ACTIVATION = Code("130403", "DCM", "Gradient-weighted class activation")
SALIENCY = Code("130404", "DCM", "Saliency")
ENTIRE_BODY = Code("38266002", "SCT", "Entire body")
HEAD = Code("69536005", "SCT", "Head")
NECK = Code("45048000", "SCT", "Neck")
THORAX = Code("816094009", "SCT", "Thorax")
ABDOMEN = Code("818981001", "SCT", "Abdomen")
PELVIS = Code("816092008", "SCT", "Pelvis")
