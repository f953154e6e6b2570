"""x"""


def write_data_report(*a):
    pass
