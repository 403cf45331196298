from adapterhub_fin.errors import (
    AdapterHubError as AdapterHubError,
)
from adapterhub_fin.errors import (
    BadCorpus as BadCorpus,
)
from adapterhub_fin.errors import (
    BadInstant as BadInstant,
)
from adapterhub_fin.errors import (
    BadManifest as BadManifest,
)
from adapterhub_fin.errors import (
    BadMerge as BadMerge,
)
from adapterhub_fin.errors import (
    BadRecipe as BadRecipe,
)
from adapterhub_fin.errors import (
    BadReference as BadReference,
)
from adapterhub_fin.errors import (
    Corrupted as Corrupted,
)
from adapterhub_fin.errors import (
    NotAnAdapter as NotAnAdapter,
)
from adapterhub_fin.errors import (
    NotFinite as NotFinite,
)
from adapterhub_fin.errors import (
    NotFound as NotFound,
)
from adapterhub_fin.errors import (
    PluginError as PluginError,
)
from adapterhub_fin.errors import (
    PolicyViolation as PolicyViolation,
)
from adapterhub_fin.errors import (
    Refused as Refused,
)
from adapterhub_fin.errors import (
    UnknownName as UnknownName,
)
from adapterhub_fin.errors import (
    Unreachable as Unreachable,
)
from adapterhub_fin.errors import (
    Unsupported as Unsupported,
)
from adapterhub_fin.errors import (
    WrongBase as WrongBase,
)
from adapterhub_fin.errors import (
    WrongTensors as WrongTensors,
)
from adapterhub_fin.plugin.adapter_files import CONFIG as CONFIG
from adapterhub_fin.plugin.adapter_files import PREFIX as PREFIX
from adapterhub_fin.plugin.adapter_files import WEIGHTS as WEIGHTS
from adapterhub_fin.plugin.answers import AnswerForm as AnswerForm
from adapterhub_fin.plugin.answers import Estimate as Estimate
from adapterhub_fin.plugin.answers import LabelSet as LabelSet
from adapterhub_fin.plugin.answers import Likelihood as Likelihood
from adapterhub_fin.plugin.answers import Prediction as Prediction
from adapterhub_fin.plugin.answers import Vector as Vector
from adapterhub_fin.plugin.asserted_dates import asserted as asserted
from adapterhub_fin.plugin.asserted_dates import written_date as written_date
from adapterhub_fin.plugin.calendars import CALENDAR_PATTERN as CALENDAR_PATTERN
from adapterhub_fin.plugin.calendars import SPAN_PATTERN as SPAN_PATTERN
from adapterhub_fin.plugin.calendars import Offset as Offset
from adapterhub_fin.plugin.calendars import Sessions as Sessions
from adapterhub_fin.plugin.calendars import sessions as sessions
from adapterhub_fin.plugin.chat_templates import ChatTemplate as ChatTemplate
from adapterhub_fin.plugin.console import json_option as json_option
from adapterhub_fin.plugin.console import print_facts as print_facts
from adapterhub_fin.plugin.console import print_json as print_json
from adapterhub_fin.plugin.console import print_table as print_table
from adapterhub_fin.plugin.contributed import build_contribution as build_contribution
from adapterhub_fin.plugin.contributed import contribution as contribution
from adapterhub_fin.plugin.contributed import contributions as contributions
from adapterhub_fin.plugin.conversations import Messages as Messages
from adapterhub_fin.plugin.conversations import answer_spans as answer_spans
from adapterhub_fin.plugin.conversations import closing as closing
from adapterhub_fin.plugin.conversations import render as render
from adapterhub_fin.plugin.corpora import corpus_options as corpus_options
from adapterhub_fin.plugin.corpora import load_corpus as load_corpus
from adapterhub_fin.plugin.date_formats import check_date_format as check_date_format
from adapterhub_fin.plugin.descriptions import Base as Base
from adapterhub_fin.plugin.descriptions import Corpus as Corpus
from adapterhub_fin.plugin.descriptions import Description as Description
from adapterhub_fin.plugin.descriptions import Head as Head
from adapterhub_fin.plugin.descriptions import Merger as Merger
from adapterhub_fin.plugin.descriptions import Method as Method
from adapterhub_fin.plugin.descriptions import Metric as Metric
from adapterhub_fin.plugin.descriptions import OwnHook as OwnHook
from adapterhub_fin.plugin.descriptions import StoreKind as StoreKind
from adapterhub_fin.plugin.documents import read_document as read_document
from adapterhub_fin.plugin.examples import IGNORED as IGNORED
from adapterhub_fin.plugin.examples import encode_columns as encode_columns
from adapterhub_fin.plugin.examples import encode_inputs as encode_inputs
from adapterhub_fin.plugin.examples import pad_labels as pad_labels
from adapterhub_fin.plugin.examples import pad_texts as pad_texts
from adapterhub_fin.plugin.faults import Faults as Faults
from adapterhub_fin.plugin.faults import collected as collected
from adapterhub_fin.plugin.files import FilesByPart as FilesByPart
from adapterhub_fin.plugin.files import decoded as decoded
from adapterhub_fin.plugin.files import files_by_part as files_by_part
from adapterhub_fin.plugin.finance_vocabulary import count_terms as count_terms
from adapterhub_fin.plugin.finance_vocabulary import finance_terms as finance_terms
from adapterhub_fin.plugin.head_bases import CausalHead as CausalHead
from adapterhub_fin.plugin.head_bases import EmbeddingHead as EmbeddingHead
from adapterhub_fin.plugin.head_bases import SequenceHead as SequenceHead
from adapterhub_fin.plugin.heads import HeadImplementation as HeadImplementation
from adapterhub_fin.plugin.heads import MergeableHead as MergeableHead
from adapterhub_fin.plugin.hooks import hookimpl as hookimpl
from adapterhub_fin.plugin.instants import DayEnd as DayEnd
from adapterhub_fin.plugin.instants import day_end as day_end
from adapterhub_fin.plugin.instants import instant as instant
from adapterhub_fin.plugin.instants import is_day_alone as is_day_alone
from adapterhub_fin.plugin.instants import moment as moment
from adapterhub_fin.plugin.instants import read_by as read_by
from adapterhub_fin.plugin.instants import tells_time as tells_time
from adapterhub_fin.plugin.interfaces import (
    AttachContext as AttachContext,
)
from adapterhub_fin.plugin.interfaces import (
    BoundedNow as BoundedNow,
)
from adapterhub_fin.plugin.interfaces import (
    CorpusImplementation as CorpusImplementation,
)
from adapterhub_fin.plugin.interfaces import (
    KnownAt as KnownAt,
)
from adapterhub_fin.plugin.interfaces import (
    LoraFactors as LoraFactors,
)
from adapterhub_fin.plugin.interfaces import (
    MergerImplementation as MergerImplementation,
)
from adapterhub_fin.plugin.interfaces import (
    MethodImplementation as MethodImplementation,
)
from adapterhub_fin.plugin.interfaces import (
    Published as Published,
)
from adapterhub_fin.plugin.interfaces import (
    Rows as Rows,
)
from adapterhub_fin.plugin.interfaces import (
    StoreImplementation as StoreImplementation,
)
from adapterhub_fin.plugin.interfaces import (
    ThirdPartyAdapter as ThirdPartyAdapter,
)
from adapterhub_fin.plugin.low_rank import LowRank as LowRank
from adapterhub_fin.plugin.low_rank import numerical_rank as numerical_rank
from adapterhub_fin.plugin.low_rank import total as total
from adapterhub_fin.plugin.memory import class_names as class_names
from adapterhub_fin.plugin.memory import memory_rows as memory_rows
from adapterhub_fin.plugin.memory import taken_in as taken_in
from adapterhub_fin.plugin.model_parts import backbone as backbone
from adapterhub_fin.plugin.model_parts import outside_backbone as outside_backbone
from adapterhub_fin.plugin.options import NoOptions as NoOptions
from adapterhub_fin.plugin.options import Options as Options
from adapterhub_fin.plugin.options import checked as checked
from adapterhub_fin.plugin.peft_fields import fields_of as fields_of
from adapterhub_fin.plugin.peft_fields import peft_release as peft_release
from adapterhub_fin.plugin.peft_fields import stated as stated
from adapterhub_fin.plugin.peft_method import PeftMethod as PeftMethod
from adapterhub_fin.plugin.peft_method import peft_model as peft_model
from adapterhub_fin.plugin.pictures import BLUE as BLUE
from adapterhub_fin.plugin.pictures import GREY as GREY
from adapterhub_fin.plugin.pictures import ORANGE as ORANGE
from adapterhub_fin.plugin.pictures import blank_figure as blank_figure
from adapterhub_fin.plugin.pictures import inline_png as inline_png
from adapterhub_fin.plugin.pictures import label_text as label_text
from adapterhub_fin.plugin.pictures import page_style as page_style
from adapterhub_fin.plugin.pictures import png as png
from adapterhub_fin.plugin.progress_lines import progress as progress
from adapterhub_fin.plugin.reading import CellOptions as CellOptions
from adapterhub_fin.plugin.reading import TableReading as TableReading
from adapterhub_fin.plugin.reading import ZonedOptions as ZonedOptions
from adapterhub_fin.plugin.reading import emptied as emptied
from adapterhub_fin.plugin.tables import CsvForm as CsvForm
from adapterhub_fin.plugin.tables import table_rows as table_rows
from adapterhub_fin.plugin.target_layers import linear_layers as linear_layers
from adapterhub_fin.plugin.texts import MARK as MARK
from adapterhub_fin.plugin.texts import joined_tokens as joined_tokens
from adapterhub_fin.plugin.texts import problem as problem
from adapterhub_fin.plugin.token_states import TokenStates as TokenStates
from adapterhub_fin.plugin.trusted_code import brings_code_for as brings_code_for
from adapterhub_fin.plugin.trusted_code import remote_code as remote_code
from adapterhub_fin_registry.incoming import Incoming as Incoming
from adapterhub_fin_registry.io.cache import caches as caches
from adapterhub_fin_registry.model.knowledge import end_of_day as end_of_day
from adapterhub_fin_registry.model.knowledge import format_instant as format_instant
from adapterhub_fin_registry.model.reference import HubReference as HubReference
from adapterhub_fin_registry.model.reference import parse_reference as parse_reference
from adapterhub_fin_registry.model.version import Version as Version
from adapterhub_fin_registry.remote_index import RemoteVersion as RemoteVersion
