"""An adapter by its name in vLLM: `python vllm_by_name.py acme/notes@champion BASE TEXT...`

A server needs no program: the plugin is there once adapterhub_fin is installed beside vLLM
(docs/how-to/serve_with_an_engine.md).
"""

import asyncio
import sys

from vllm import LLM, SamplingParams
from vllm.lora.resolver import LoRAResolverRegistry

reference, base, *texts = sys.argv[1:]
llm = LLM(model=base, enable_lora=True, max_lora_rank=64)  # which calls every plugin of vLLM

resolver = LoRAResolverRegistry.get_resolver("adapterhub_fin")
adapter = asyncio.run(resolver.resolve_lora(base, reference))
if adapter is None:
    sys.exit(f"{reference} is not served: the log says why")

for answer in llm.generate(texts, SamplingParams(temperature=0, max_tokens=64), lora_request=adapter):
    print(answer.outputs[0].text)
